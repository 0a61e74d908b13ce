from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.release.live import LiveRun, epoch_metrics, live_run

pytestmark = pytest.mark.slow

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


def test_epochs_arrive_at_their_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
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


def test_a_server_that_is_down_costs_one_warning_and_no_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_id = MlflowClient(uri).create_run("0").info.run_id
    caplog.set_level(logging.WARNING, "pipeline")
    live = LiveRun(run_id, "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.release.live.RETRIES", 0)

    live.log_epoch({**ROW, "epoch": 1})
    live.log_epoch({**ROW, "epoch": 2})
    live._tracking_uri = uri
    live.log_epoch({**ROW, "epoch": 3})

    (warning,) = [r.message for r in caplog.records if r.name == "pipeline.release.live"]
    assert "training goes on" in warning
    history = MlflowClient(uri).get_metric_history(run_id, "val_loss")
    assert [found.step for found in history] == [1, 2, 3]
