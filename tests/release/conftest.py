from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace
from tests.conftest import PROJECT, give_store
from tests.release.runs import make_run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    """Settings of a store of its own, without a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings(repo=str(PROJECT), home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings


@pytest.fixture
def run(settings: Settings, client: MlflowClient, tmp_path: Path) -> tuple[RunRecord, Workspace]:
    return make_run(settings, client, tmp_path / "first")
