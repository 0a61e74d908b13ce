from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.tracking.rest import PROGRESS_TAG, MlflowServer, Progress, run_page


def server(status: int, **content: Any) -> tuple[MlflowServer, list[str]]:
    """A server that answers everything so, and the addresses that it is asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, json=content)

    return MlflowServer("http://127.0.0.1:5000/", httpx.MockTransport(answer)), asked


def test_progress_is_what_the_training_says_and_its_last_validation() -> None:
    data = {
        "metrics": [
            {"key": "loss", "value": 1, "step": 3},
            {"key": "val_dice", "value": 0.9, "step": 3},
        ],
        "tags": [{"key": PROGRESS_TAG, "value": "epoch 4/8, 42 % trained"}],
    }
    mlflow, asked = server(200, run={"info": {}, "data": data})

    progress = mlflow.progress("abc")

    assert progress == Progress("epoch 4/8, 42 % trained", 3, 0.9)
    assert str(progress) == "epoch 4/8, 42 % trained; validation Dice 0.900 after epoch 3"
    assert asked == ["http://127.0.0.1:5000/api/2.0/mlflow/runs/get?run_id=abc"]


def test_progress_before_the_first_validation_is_what_the_training_says() -> None:
    tags = [{"key": PROGRESS_TAG, "value": "preparing epoch 1/8"}]
    mlflow, _ = server(200, run={"info": {}, "data": {"tags": tags}})

    assert str(mlflow.progress("abc")) == "preparing epoch 1/8"


def test_progress_of_a_training_that_says_nothing_is_its_last_validation() -> None:
    assert str(Progress(None, 3, 0.5)) == "validation Dice 0.500 after epoch 3"


def test_a_training_that_has_not_begun_has_no_progress() -> None:
    assert server(200, run={"info": {}, "data": {}})[0].progress("abc") is None


def test_page_of_a_run_names_its_experiment() -> None:
    mlflow, _ = server(200, run={"info": {"experiment_id": "7"}, "data": {}})

    shown = "http://127.0.0.1:5000/#/experiments/7/runs/abc"
    assert mlflow.page("abc") == f"{shown}?workflowType=machine_learning"
    report = f"{shown}/artifacts/report/index.html?workflowType=machine_learning"
    assert mlflow.page("abc", "report/index.html") == report


def test_page_of_a_run_is_shown_without_the_login_of_its_server() -> None:
    page = run_page("https://ci:secret@mlflow.example", "7", "abc")

    assert page.startswith("https://mlflow.example/#/experiments/7/runs/abc")


def test_unknown_run_and_store_without_a_server_have_neither() -> None:
    assert MlflowServer("sqlite:////nowhere.db").page("abc") is None
    assert server(404)[0].progress("abc") is None


@pytest.mark.parametrize("silent", ["root", "root/code"])
def test_a_listing_that_does_not_come_is_no_empty_folder(silent: str, tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "registered-models/alias": {"model_version": {"version": "1", "source": "models:/m-1"}},
        "logged-models/m-1": {"model": {"info": {"artifact_uri": "mlflow-artifacts:/root"}}},
        "root": {"files": [{"path": "MLmodel", "is_dir": False}, {"path": "code", "is_dir": True}]},
        "root/code": {"files": [{"path": "a.py", "is_dir": False}]},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        listed = request.url.params.get("path", "")
        question = request.url.path.removeprefix("/api/2.0/mlflow/")
        if broken and listed == silent:
            return httpx.Response(503)
        return httpx.Response(200, json=answers.get(listed or question, {}))

    broken = False
    server = MlflowServer("http://127.0.0.1:5000", httpx.MockTransport(answer))
    found = server.fetch_model("lungs", "champion", None, tmp_path)
    broken = True

    assert found
    assert (found[2] / "MLmodel").is_file()
    assert (found[2] / "code/a.py").is_file()
    assert server.fetch_model("lungs", "champion", None, tmp_path) is None


def test_a_server_with_a_log_in_is_asked_with_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        known = request.headers.get("Authorization") == "Basic YWRhOnNlY3JldA=="
        run = {"info": {"experiment_id": "7"}, "data": {}}
        return httpx.Response(200 if known else 401, json={"run": run})

    transport = httpx.MockTransport(answer)

    assert MlflowServer("http://mlflow", transport).page("abc") is None
    page = MlflowServer("http://mlflow", transport, login=("ada", "secret")).page("abc")
    assert page
    assert page.startswith("http://mlflow/#/experiments/7/runs/abc")
