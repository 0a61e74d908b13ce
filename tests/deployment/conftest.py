from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import Settings
from tests.conftest import git, give_store

FOREIGN = (
    *("AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"),
    *("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "LUNGSEG_AIRFLOW_PASSWORD", "LUNGSEG_AIRFLOW_URL"),
    *("LUNGSEG_REMOTE", "LUNGSEG_REMOTE_ENDPOINT", "LUNGSEG_REPO", "MLFLOW_TRACKING_URI"),
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    """Settings of a small project and of an MLflow store without a server."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    for name in ("dvc.yaml", "uv.lock", ".dvc/config"):
        (project / name).touch()
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=first")
    settings = Settings(repo=str(project), home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings
