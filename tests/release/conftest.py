from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace
from tests.conftest import PROJECT
from tests.release.runs import make_run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    """Settings of a store of its own, without a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings(repo=str(PROJECT), home=tmp_path / "home", local=True)
    (settings.home / "local").mkdir(parents=True)
    shutil.copy(store, settings.home / "local/mlflow.db")
    return settings


@pytest.fixture
def client(settings: Settings) -> Iterator[MlflowClient]:
    with connect(settings) as connected:
        yield connected


@pytest.fixture
def run(settings: Settings, client: MlflowClient, tmp_path: Path) -> tuple[RunRecord, Workspace]:
    return make_run(settings, client, tmp_path / "first")
