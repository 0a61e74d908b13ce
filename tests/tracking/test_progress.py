from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipeline.tracking import progress as tracking
from pipeline.tracking.progress import Progress, Tracking


def answer(monkeypatch: pytest.MonkeyPatch, status: int, **content: Any) -> list[str]:
    asked: list[str] = []

    def get(url: str, **options: Any) -> httpx.Response:
        asked.append(f"{url}?run_id={options['params']['run_id']}")
        return httpx.Response(status, json=content)

    monkeypatch.setattr(tracking.httpx, "get", get)
    return asked


def test_progress_is_the_latest_epoch_of_those_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "metrics": [
            {"key": "loss", "value": 1, "step": 3},
            {"key": "val_dice", "value": 0.9, "step": 3},
        ],
        "params": [{"key": "train.epochs", "value": "8"}],
    }
    asked = answer(monkeypatch, 200, run={"info": {}, "data": data})

    progress = Tracking("http://127.0.0.1:5000/").progress("abc")

    assert progress == Progress(3, 8, 0.9)
    assert str(progress) == "epoch 3/8, validation Dice 0.900"
    assert asked == ["http://127.0.0.1:5000/api/2.0/mlflow/runs/get?run_id=abc"]


def test_progress_without_planned_epochs_names_only_the_epoch() -> None:
    assert str(Progress(3, None, 0.5)) == "epoch 3, validation Dice 0.500"


def test_run_without_epochs_has_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 200, run={"info": {}, "data": {}})

    assert Tracking("http://x").progress("abc") is None


def test_page_of_a_run_names_its_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 200, run={"info": {"experiment_id": "7"}, "data": {}})

    assert Tracking("http://x").page("abc") == "http://x/#/experiments/7/runs/abc"


def test_unknown_run_and_store_without_a_server_have_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Tracking("sqlite:////nowhere.db").page("abc") is None
    answer(monkeypatch, 404)
    assert Tracking("http://x").progress("abc") is None
