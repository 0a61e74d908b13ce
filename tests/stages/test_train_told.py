"""The stage train on masks of several conventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifacts import Artifact
from pipeline.inference.predictor import Predictor
from pipeline.model.keras_file import load_network
from pipeline.model.shards import AugmentSummary, encode_record, find_shards, write_shard
from pipeline.params import Params
from pipeline.stages import train
from tests.augmented import write_summary
from tests.conftest import draw_pair
from tests.model.told_networks import told
from tests.stages.test_train import SIDE, nothing, with_train

NAMES = ["standard", "upper"]


def write_shards(root: Path, **records: int) -> None:
    """The same lungs drawn to two conventions: whole, and their upper halves only."""
    folder = root / "artifacts/augment"
    folder.mkdir(parents=True)
    for split, count in records.items():
        encoded = []
        for i in range(count):
            image, mask = (np.asarray(one.convert("L")).copy() for one in draw_pair(i // 2, SIDE))
            if i % 2:
                mask[SIDE // 2 :] = 0
            encoded.append(encode_record(f"A/{i}", image, mask, i % 2))
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", encoded)
    write_summary(folder, SIDE, **records)
    summary: Artifact = AugmentSummary.read(folder / "augment.json")
    summary.model_copy(update={"conventions": NAMES}).write(folder / "augment.json")


class Watching:
    """Keeps the examples that it is shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def log_epoch(self, row: Any) -> None:
        """Nothing."""

    def log_examples(self, epoch: int, *pictures: Any) -> None:
        """Keep them."""
        self.shown.append(pictures)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / ".lungseg"))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    write_shards(tmp_path, train=40, val=8)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("deep", [True, False])
def test_a_network_learns_to_answer_in_the_convention_that_it_is_asked_for(
    params: Params, root: Path, deep: bool
) -> None:
    changes = {"filters": [8, 12], "epochs": 10, "deep_supervision": deep}

    train.run(with_train(params, **changes), root)

    predictor = Predictor(root / "artifacts/train/model.onnx")
    image = np.asarray(draw_pair(99, SIDE)[0])
    found = [predictor.predict([image], None, [name])[0] >= 0.5 for name in NAMES]
    lower = [int(mask[SIDE // 2 + 2 :].sum()) for mask in found]
    upper = [int(mask[: SIDE // 2 - 2].sum()) for mask in found]
    assert upper[1] > 0.8 * upper[0] > 0
    assert lower[1] < 0.2 * lower[0]
    inputs = [image[None, ..., None].astype(np.float32), told(1)]
    network = load_network(root / "artifacts/train/model.keras")
    np.testing.assert_array_equal(network.predict_on_batch(inputs)[0, ..., 0] >= 0.5, found[1])
    made = json.loads((root / "artifacts/train/train.json").read_text())
    assert made["onnx_max_difference"] < 1e-4


@pytest.mark.slow
def test_a_told_training_resumes_as_if_it_were_undisturbed(params: Params, root: Path) -> None:
    from pipeline.model.training import Training

    shards = [find_shards(root / "artifacts/augment", split) for split in ("train", "val")]
    wanted = with_train(params).train
    whole, first, second = (Training(wanted, *shards) for _ in range(3))
    for training in (whole, whole, first):
        training.run_epoch(nothing, nothing)

    second.restore(first.checkpoint())
    row = second.run_epoch(nothing, nothing)

    assert row == whole.history[-1]
    for one, other in zip(second.network().weights, whole.network().weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.slow
def test_an_observer_sees_each_example_in_its_own_convention(params: Params, root: Path) -> None:
    from pipeline.model.observers import Examples
    from tests.model.told_networks import trained

    watching = Watching()
    examples = Examples(params.train, find_shards(root / "artifacts/augment", "val"), watching)
    network = trained(params)

    examples.show(1, network)

    ((images, masks, lungs),) = watching.shown
    assert [bool(mask[SIDE // 2 :].any()) for mask in masks] == [True, False, True, False]
    inputs = [images[..., None].astype(np.float32), told(0, 1, 0, 1)]
    np.testing.assert_allclose(lungs, network.predict_on_batch(inputs)[..., 0], atol=1e-6)
