from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ReleaseError
from pipeline.inference.model_files import model_sha256
from pipeline.inference.released import MODEL_SHA256
from pipeline.settings import Settings, private_home
from pipeline.stage_graph import Shown
from pipeline.tracking.run_record import (
    LONGEST_NAME,
    RunRecord,
    create_record,
    find_model,
    open_record,
)
from tests.conftest import PROJECT, give_store, open_to_others

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


@pytest.fixture
def settings(tmp_path: Path, store: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", local=True)
    private_home(settings)
    give_store(settings, store)
    return settings


def test_a_name_is_cut_to_what_every_database_of_mlflow_holds(
    settings: Settings, client: MlflowClient
) -> None:
    record = create_record(settings, client, PROJECT, "trial 1: " + 300 * "x", {})

    assert record.run.info.run_name == "trial 1: " + (LONGEST_NAME - 9) * "x"


def test_a_run_that_is_not_there_is_told_without_the_login_of_the_server(
    settings: Settings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")

    with pytest.raises(ReleaseError, match=r"^run 'x': not in .* of https://mlflow\.example$"):
        open_record(settings, client, "x")


def test_a_second_training_of_a_run_logs_its_network_and_the_same_one_is_kept(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    experiment = client.create_experiment("x", settings.artifact_location)
    record = RunRecord(settings, client, client.create_run(experiment))
    shutil.copytree(PROJECT / "tests/release/old_layout/artifacts", tmp_path / "train")
    shown = Shown(model="train")
    (tmp_path / "pipeline").symlink_to(PROJECT / "pipeline")

    def logged() -> LoggedModel:
        record.log_stage("train", shown, tmp_path, "ran")
        model = find_model(client, record.run)
        assert model
        return model

    first, again = logged(), logged()
    (tmp_path / "train/model.keras").write_bytes(b"trained once more")
    second = logged()

    assert first.model_id == again.model_id != second.model_id
    assert second.params[MODEL_SHA256] == model_sha256(tmp_path / "train")


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
