from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ReleaseError
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.conftest import give_store

Move = Callable[[Path, Path], object]


def local(home: Path) -> Settings:
    return Settings(home=home, local=True)


@pytest.fixture
def recorded(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run whose store is in `first`, with an artifact, a model and a version."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = local(tmp_path / "first")
    give_store(settings, store)
    with connect(settings) as client:
        experiment = client.create_experiment("lungs", settings.artifact_location)
        run = client.create_run(experiment)
        client.log_text(run.info.run_id, "once", "a/b.txt")
        model = client.create_logged_model(experiment, "model", run.info.run_id)
        client.create_registered_model("lungs")
        client.create_model_version("lungs", f"models:/{model.model_id}", model_id=model.model_id)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow's client left it there
    return str(run.info.run_id)


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_store_reads_and_writes_where_it_is(move: Move, recorded: str, tmp_path: Path) -> None:
    move(tmp_path / "first", tmp_path / "its new place")
    before = sorted((tmp_path / "first").rglob("*"))

    with connect(local(tmp_path / "its new place")) as client:
        run = client.get_run(recorded)
        [model] = client.search_logged_models([run.info.experiment_id])
        placed = client.get_model_version_download_uri("lungs", "1")
        later = client.create_run(run.info.experiment_id).info
        client.log_text(later.run_id, "again", "a/c.txt")

    now = tmp_path / "its new place/local/artifacts"
    assert Path(run.info.artifact_uri, "a/b.txt").read_text() == "once"
    assert Path(later.artifact_uri, "a/c.txt").read_text() == "again"
    for location in (run.info.artifact_uri, later.artifact_uri, model.artifact_location, placed):
        assert Path(location).is_relative_to(now)
    assert sorted((tmp_path / "first").rglob("*")) == before


def test_a_store_that_was_copied_from_another_users_home_is_where_it_is(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    found = os.stat

    def closed(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, Path) and path.is_relative_to(tmp_path / "first"):
            raise PermissionError(13, "Permission denied", str(path))
        return found(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)

    with connect(local(tmp_path / "copy")) as client:
        location = client.get_experiment_by_name("lungs").artifact_location

    assert location == str(tmp_path / "copy/local/artifacts")


def test_a_store_that_is_reached_by_a_link_was_not_moved(recorded: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "first")

    with connect(local(tmp_path / "link")) as client:
        location = client.get_experiment_by_name("lungs").artifact_location

    assert location == str(tmp_path / "first/local/artifacts")


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "local/artifacts").mkdir(parents=True)
    (tmp_path / "local/mlflow.db").write_text("no database" * 100)

    with (
        pytest.raises(ReleaseError, match=r"mlflow.db: file is not a database, expected MLflow's"),
        connect(local(tmp_path)),
    ):
        pass
