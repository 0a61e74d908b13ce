from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.files import read_json, write_json
from pipeline.model.shards import encode_record, write_shard
from pipeline.params import Params
from pipeline.stages import train
from tests.conftest import draw_pair

pytestmark = pytest.mark.slow

SIDE = 32


def with_train(params: Params, **changes: Any) -> Params:
    small = {"filters": [4, 8], "epochs": 3, "learning_rate": 0.01, "batch_size": 4, **changes}
    return params.model_copy(update={"train": params.train.model_copy(update=small)})


def write_shards(root: Path, **records: int) -> None:
    folder = root / "artifacts/augment"
    folder.mkdir(parents=True)
    for split, count in records.items():
        encoded = []
        for i in range(count):
            image, mask = draw_pair(i, SIDE)
            lung = (np.asarray(mask.convert("L")) > 0).astype(np.uint8)
            encoded.append(encode_record(f"A/{i}", np.asarray(image), lung))
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", encoded)
    write_json(folder / "augment.json", {"image_size": SIDE, "records": records})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_shards(tmp_path, train=18, val=6)
    return tmp_path


def history(root: Path) -> list[dict[str, float]]:
    with (root / "artifacts/train/history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_training_learns_and_leaves_its_files(
    params: Params, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.model.predictor import Predictor

    caplog.set_level(logging.INFO, "pipeline")

    line = train.run(with_train(params, epochs=12, patience=12), root)

    rows = history(root)
    summary = read_json(root / "artifacts/train/train.json")
    best = min(rows, key=lambda row: row["val_loss"])
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert set(rows[0]) == set(train_columns())
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert summary["val_dice"] == best["val_dice"] > 0.8
    assert (summary["epochs"], summary["best_epoch"]) == (12, best["epoch"])
    assert summary["parameters"] > 1000
    assert f"validation Dice {best['val_dice']:.4f}" in line
    assert sum("images/s" in record.message for record in caplog.records) == 12

    pairs = [draw_pair(i, SIDE) for i in range(6)]
    found = Predictor(root / "artifacts/train/model.keras").predict(
        [np.asarray(image) for image, _ in pairs]
    )
    truth = [np.asarray(mask.convert("L")) > 0 for _, mask in pairs]
    accuracy = np.mean([(lung >= 0.5) == mask for lung, mask in zip(found, truth, strict=True)])
    assert accuracy == pytest.approx(summary["val_accuracy"], abs=1e-4)


def train_columns() -> tuple[str, ...]:
    from pipeline.model.training import HISTORY

    return HISTORY


@pytest.mark.parametrize("changes", [{}, {"deep_supervision": True, "loss": "bce_dice"}])
def test_training_again_gives_the_same_bytes(
    params: Params, root: Path, changes: dict[str, Any]
) -> None:
    def files() -> dict[str, bytes]:
        train.run(with_train(params, epochs=2, **changes), root)
        folder = root / "artifacts/train"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = files()

    assert set(first) == {"model.keras", "history.csv", "train.json"}
    assert files() == first


def test_training_stops_when_the_validation_loss_no_longer_falls(
    params: Params, root: Path
) -> None:
    train.run(with_train(params, epochs=60, patience=2, learning_rate=0.05), root)

    rows = history(root)
    best = min(rows, key=lambda row: row["val_loss"])
    assert len(rows) == best["epoch"] + 2 < 60


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_loss_that_is_no_number_stops_within_the_epoch(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import training

    monkeypatch.setattr(
        training, "loss_function", lambda name: lambda truth, heads: heads[:, 0, 0, 0] * math.nan
    )

    with pytest.raises(StageError, match=r"loss is nan in epoch 1, .*lower train\.learning_rate"):
        train.run(with_train(params), root)
    assert not (root / "artifacts/train").exists()


def test_a_validation_loss_that_is_no_number_stops_the_training(params: Params) -> None:
    from pipeline.model.training import Progress

    progress = Progress(params.train, 10, None)
    progress.begin(4)

    with pytest.raises(StageError, match="val_loss is inf in epoch 5"):
        progress.end(4, dict.fromkeys(train_columns(), 0.5) | {"val_loss": math.inf})
    assert progress.history == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "truncated record"),
        ("other size", "reshape"),
        ("fewer records", "expected to contain 24 elements but contained only 4"),
    ],
)
def test_damaged_shards_are_refused(params: Params, root: Path, damage: str, reason: str) -> None:
    folder = root / "artifacts/augment"
    shard = folder / "train-00000-of-00001.tfrecord"
    made = read_json(folder / "augment.json")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "other size":
        write_json(folder / "augment.json", made | {"image_size": 64})
    else:
        write_json(folder / "augment.json", made | {"records": {"train": 99, "val": 6}})

    with pytest.raises(StageError, match=rf"augment: a shard is damaged or of .*{reason}") as info:
        train.run(with_train(params, epochs=1), root)
    assert "\n" not in str(info.value)


def test_training_before_augmenting_is_refused(params: Params, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"augment\.json: no such file; run the stage augment"):
        train.run(with_train(params), tmp_path)


def test_epochs_go_to_the_run_that_the_settings_name(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.release.live import LiveRun

    seen: list[tuple[str, float]] = []
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.setattr(
        LiveRun, "log_epoch", lambda self, row: seen.append((self._run_id, row["epoch"]))
    )

    train.run(with_train(params, epochs=2), root)

    assert seen == [("abc", 1), ("abc", 2)]
