from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.settings import Settings, private_home
from pipeline.tracking.run_record import RunRecord
from tests.conftest import give_store, open_to_others

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture
def settings(tmp_path: Path, store: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", local=True)
    private_home(settings)
    give_store(settings, store)
    return settings


def test_artifacts_in_a_store_without_a_server_are_the_users_alone(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    page = tmp_path / "report/pages/index.html"
    page.parent.mkdir(parents=True)
    page.write_text("radiographs")
    page.chmod(0o444)  # as DVC leaves what its cache holds
    experiment = client.create_experiment("x", settings.artifact_location)
    record = RunRecord(settings, client, client.create_run(experiment))

    for _ in range(2):  # a task that is tried again does it again
        record.log_artifact(page, "")
        record.log_artifact(tmp_path / "report", "report")

    kept = [path.name for path in settings.home.rglob("index.html")]
    assert kept == ["index.html"] * 2
    assert open_to_others(settings.home / "local/artifacts") == []
