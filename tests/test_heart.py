"""A network of 32 pixels from its building to a mask, without a server: the job in small."""

from __future__ import annotations

import csv
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli.app import main
from pipeline.files import read_json
from pipeline.inference.model_files import MODEL_FILES
from pipeline.inference.predictor import Predictor
from pipeline.params import Params
from pipeline.settings import Settings
from pipeline.stages import train
from pipeline.tracking.client import connect
from tests.conftest import draw_pair
from tests.release.conftest import deploy
from tests.release.runs import CLASSES, make_run, release
from tests.stages.test_train import SIDE, checkpoints, with_train, write_shards


@dataclass(frozen=True)
class Trained:
    """What a training left that was stopped after its first epoch and then went on."""

    root: Path
    stopped_with: list[str]
    left: list[str]
    said: list[str]

    @property
    def folder(self) -> Path:
        return self.root / "artifacts/train"


@pytest.fixture(scope="module")
def trained(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs of two steps."""
    from pipeline.model import training

    root, said = tmp_path_factory.mktemp("trained"), []
    end = training.EpochLog.end

    def interrupted(self: training.EpochLog, row: training.EpochRow) -> None:
        end(self, row)
        raise KeyboardInterrupt

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    write_shards(root, train=8, val=4)
    wanted = with_train(params, filters=[2, 4], epochs=2)
    listener = Listener(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGSEG_HOME", str(root / ".lungseg"))
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr(logging.getLogger("pipeline"), "level", logging.INFO)
        patch.setattr(logging.getLogger("pipeline"), "handlers", [listener])
        with pytest.MonkeyPatch.context() as stopping:
            stopping.setattr(training.EpochLog, "end", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train.run(wanted, root)
        stopped_with = checkpoints(root)
        train.run(wanted, root)
    return Trained(root, stopped_with, checkpoints(root), said)


def test_a_training_that_was_stopped_goes_on_and_leaves_a_whole_result(trained: Trained) -> None:
    with (trained.folder / "history.csv").open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]

    assert trained.stopped_with == ["epoch-0001"]
    assert any(line.startswith("resuming after epoch 1 of 2") for line in trained.said)
    assert epochs == ["1", "2"]
    assert trained.left == []
    assert {path.name for path in trained.folder.iterdir()} >= {*MODEL_FILES, "train.json"}
    assert read_json(trained.folder / "train.json")["onnx_max_difference"] <= 1e-4


def test_the_exported_network_predicts_what_the_saved_one_does(trained: Trained) -> None:
    from pipeline.model.keras_file import load_network

    image, _ = draw_pair(0, SIDE)
    pixels = np.asarray(image)
    network = load_network(trained.folder / "model.keras")

    (lung,) = Predictor(trained.folder / "model.onnx").predict([pixels])

    heads = network.predict_on_batch(pixels[None, ..., None])
    np.testing.assert_allclose(lung, heads[0, ..., -1], atol=1e-4)


def test_a_trained_network_is_released_listed_and_predicts(
    trained: Trained,
    tmp_path: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deploy(tmp_path / "deployed")
    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / "home"))
    (tmp_path / "mlflow.db").write_bytes(store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    files = {name: (trained.folder / name).read_bytes() for name in MODEL_FILES}
    draw_pair(0, 80)[0].save(tmp_path / "radiograph.png")

    def lungseg(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lungseg", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    settings = Settings(repo=str(tmp_path / "deployed"))
    with connect(settings) as client:
        wanted = dict.fromkeys(CLASSES, [0.99] * 8)  # it marks nearly all of the noise as lung
        assert release(make_run(settings, client, tmp_path / "first", wanted, files)).version
    listed = lungseg("releases")
    told = lungseg("predict", str(tmp_path / "radiograph.png"), f"--out={tmp_path / 'out'}")

    assert "champion" in listed
    assert "promote" in listed
    assert told.startswith("1 masks in ")
    mask = np.asarray(Image.open(tmp_path / "out/radiograph.png"))
    (lung,) = Predictor(trained.folder / "model.onnx").predict(
        [np.asarray(Image.open(tmp_path / "radiograph.png"))]
    )
    np.testing.assert_array_equal(mask, 255 * (lung >= 0.5))
