from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.run import standalone
from pipeline.run.task_report import TaskReport
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest


def test_a_run_without_services_names_its_store_without_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")
    workspace = SimpleNamespace(folder=tmp_path)
    monkeypatch.setattr(standalone, "open_workspace", lambda *_: workspace)
    monkeypatch.setattr(standalone, "task_names", lambda _: ["split"])
    monkeypatch.setattr(standalone, "run_task", lambda *_: TaskReport(stage="split", status="ran"))
    monkeypatch.setattr(standalone, "close_run", lambda *_: None)

    standalone.retrain_standalone(Settings(home=tmp_path), RunRequest(""))

    assert "MLflow store: https://mlflow.example\n" in capsys.readouterr().out
