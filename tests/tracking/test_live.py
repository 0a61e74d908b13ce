from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.tracking.live import LiveRun, epoch_metrics, live_run
from pipeline.tracking.rest import PROGRESS_TAG

ROW = {
    "epoch": 2,
    "loss": 0.5,
    "accuracy": 0.9,
    "dice": 0.8,
    "iou": 0.7,
    "val_loss": 0.6,
    "val_accuracy": 0.85,
    "val_dice": 0.75,
    "val_iou": 0.65,
    "learning_rate": 0.002,
}
"""Of history.csv."""


@pytest.fixture
def uri(store: Path, tmp_path: Path) -> str:
    """The address of an empty store without a server."""
    shutil.copy(store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_columns_of_the_history_have_their_names_in_mlflow() -> None:
    assert epoch_metrics(ROW) == {
        "train_loss": 0.5,
        "train_accuracy": 0.9,
        "train_dice": 0.8,
        "train_iou": 0.7,
        "val_loss": 0.6,
        "val_accuracy": 0.85,
        "val_dice": 0.75,
        "val_iou": 0.65,
        "learning_rate": 0.002,
    }
    assert epoch_metrics({"images_per_second": 31.5}) == {"images_per_second": 31.5}


def test_training_by_hand_has_no_live_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)

    assert live_run() is None


def test_epochs_arrive_at_their_step(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    live = live_run()
    assert live
    for epoch in (1, 2):
        live.log_epoch({**ROW, "epoch": epoch, "val_dice": epoch / 10, "images_per_second": 9})

    steps = [(found.step, found.value) for found in client.get_metric_history(run_id, "val_dice")]
    assert steps == [(1, 0.1), (2, 0.2)]
    assert len(client.get_run(run_id).data.metrics) == 10


VALUES = {"loss": 0.25, "images_per_second": 10.5, "epochs": 0.4, "minutes_left": 38.0}


def test_what_a_training_says_within_an_epoch_is_a_tag_and_metrics_of_their_own(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    live = LiveRun(run_id, uri)

    live.log_progress("preparing epoch 1/7", 0, {})
    live.log_progress("epoch 1/7, 42 % trained", 40, VALUES)

    data = client.get_run(run_id).data
    assert data.tags[PROGRESS_TAG] == "epoch 1/7, 42 % trained"
    assert data.metrics == {f"progress/{name}": value for name, value in VALUES.items()}
    assert [point.step for point in client.get_metric_history(run_id, "progress/loss")] == [40]


def test_a_training_that_goes_back_to_a_checkpoint_tells_no_step_twice(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    killed, resumed = LiveRun(run_id, uri), LiveRun(run_id, uri)

    for step in (40, 80):
        killed.log_progress("", step, VALUES)
    for step in (60, 80, 80, 100, 100):
        resumed.log_progress(f"after {step}", step, VALUES)

    for name in VALUES:
        points = client.get_metric_history(run_id, f"progress/{name}")
        assert [point.step for point in points] == [40, 80, 100]
    assert client.get_run(run_id).data.tags[PROGRESS_TAG] == "after 100"


def test_progress_that_no_server_takes_costs_one_warning_and_the_next_is_told(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    caplog.set_level(logging.WARNING, "pipeline")
    monkeypatch.setattr("pipeline.tracking.live.RETRIES", 0)
    live = LiveRun(run_id, "http://127.0.0.1:9")

    live.log_progress("", 40, VALUES)
    live._tracking_uri = uri
    live.log_progress("", 80, VALUES)

    assert [r.name for r in caplog.records].count("pipeline.tracking.live") == 1
    points = client.get_metric_history(run_id, "progress/epochs")
    assert [point.step for point in points] == [80]


@pytest.mark.slow
def test_no_library_tells_of_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    live = LiveRun("abc", "http://127.0.0.1:9")

    for step in (40, 80):
        live.log_progress("", step, VALUES)

    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in told] == ["pipeline.tracking.live"]


def test_gpus_of_a_training_are_a_metric(uri: str) -> None:
    from mlflow import MlflowClient

    run_id = MlflowClient(uri).create_run("0").info.run_id

    LiveRun(run_id, uri).log_gpus(2)

    assert MlflowClient(uri).get_run(run_id).data.metrics == {"cost/gpus": 2}


def test_a_server_that_is_down_costs_one_warning_and_no_epoch(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    run_id = MlflowClient(uri).create_run("0").info.run_id
    caplog.set_level(logging.WARNING, "pipeline")
    live = LiveRun(run_id, "http://ci:secret@127.0.0.1:9")
    monkeypatch.setattr("pipeline.tracking.live.RETRIES", 0)

    live.log_epoch({**ROW, "epoch": 1})
    live.log_epoch({**ROW, "epoch": 2})
    live._tracking_uri = uri
    live.log_epoch({**ROW, "epoch": 3})

    (warning,) = [r.message for r in caplog.records if r.name == "pipeline.tracking.live"]
    assert "training goes on" in warning
    assert "secret" not in warning
    history = MlflowClient(uri).get_metric_history(run_id, "val_loss")
    assert [found.step for found in history] == [1, 2, 3]


def test_examples_arrive_under_the_same_keys_at_every_epoch(uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("0", str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    images, masks = np.full((2, 32, 32), 99, np.uint8), np.zeros((2, 32, 32), np.uint8)
    lungs = np.zeros((2, 32, 32), np.float32)
    live = LiveRun(run_id, uri)

    live.log_examples(1, images, masks, lungs)
    lungs[0, 8:16, 8:16] = 0.5
    live.log_examples(3, images, masks, lungs)

    logged = {}
    for file in client.list_artifacts(run_id, "images"):
        key, _, step, *_ = Path(file.path).name.split("+")
        if file.path.endswith(".png"):
            path = client.download_artifacts(run_id, file.path)
            logged[key, int(step)] = np.asarray(Image.open(path))
    assert sorted(logged) == [
        ("validation_1", 1),
        ("validation_1", 3),
        ("validation_2", 1),
        ("validation_2", 3),
    ]
    assert not np.array_equal(logged["validation_1", 1], logged["validation_1", 3])
    np.testing.assert_array_equal(logged["validation_2", 1], logged["validation_2", 3])


def test_an_error_of_a_store_s_own_client_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class S3UploadFailedError(Exception):
        """As boto3 has it."""

    class Client:
        def log_image(self, *_: Any, **__: Any) -> None:
            raise S3UploadFailedError("the token has expired")

    monkeypatch.setattr(LiveRun, "_client", lambda _: Client())
    pictures = np.zeros((1, 32, 32), np.uint8)

    LiveRun("abc", "http://127.0.0.1:9").log_examples(1, pictures, pictures, pictures / 1)

    assert "the token has expired" in caplog.text
    assert "training goes on" in caplog.text


def test_examples_that_no_server_takes_cost_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.tracking.live.RETRIES", 0)
    caplog.set_level(logging.WARNING, "pipeline")
    pictures = np.zeros((1, 32, 32), np.uint8)

    LiveRun("abc", "http://127.0.0.1:9").log_examples(1, pictures, pictures, pictures / 1)

    assert "training goes on" in caplog.text
