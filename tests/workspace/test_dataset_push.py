from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import ParamsError, WorkspaceError
from pipeline.settings import Settings
from pipeline.workspace import dataset_push
from pipeline.workspace.dataset_push import push_dataset
from pipeline.workspace.reproduce import materialise
from tests.conftest import git
from tests.workspace.two_stages import checkout


@pytest.fixture
def settings(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a host that has neither the project's checkout nor its cache."""
    monkeypatch.setenv("LUNGSEG_REMOTE", str(tmp_path / "deployment"))
    (tmp_path / "home").mkdir()
    return Settings(repo=f"file://{project}", home=tmp_path / "home")


def name_store(project: Path) -> None:
    """Let the project name its remote by a path that holds anywhere."""
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("../../store", str(project.with_name("store"))))
    config.write_text(config.read_text().replace("../store", str(project.with_name("store"))))
    git(project, "commit", "--quiet", "--all", "--allow-empty", "--message=remote")


def test_the_dataset_gets_from_the_remote_of_the_project_to_that_of_the_deployment(
    project: Path, settings: Settings, tmp_path: Path
) -> None:
    name_store(project)

    commit = push_dataset(settings, "HEAD", "")

    assert commit == git(project, "rev-parse", "HEAD").strip()
    assert list((settings.home).glob("push-*")) == []
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "deployment", tmp_path / "store")
    other = checkout(project, "other")
    materialise(other, "data")
    assert (other.folder / "data/text.txt").read_text() == "lungs"


def test_data_that_are_nowhere_are_named_with_what_to_do(project: Path, settings: Settings) -> None:
    name_store(project)
    shutil.rmtree(project.with_name("store"))

    with pytest.raises(
        WorkspaceError,
        match=r"^data: object .* is not in the cache .*; the remote was 'store': name",
    ):
        push_dataset(settings, "HEAD", "")


def test_a_store_that_takes_nothing_says_why(
    project: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_store(project)
    (tmp_path / "deployment").write_text("a file where a folder must be")

    with pytest.raises(WorkspaceError, match=r"^data: cannot be pushed: .*the store refuses"):
        push_dataset(settings, "HEAD", "")
    monkeypatch.setattr(dataset_push, "store_problem", lambda *_: None)
    with pytest.raises(WorkspaceError, match=r"^data: cannot be pushed to .*/deployment: "):
        push_dataset(settings, "HEAD", "")
    told = dataset_push._problem(checkout(project, "other"), "https://ci:secret@host/x", "why")
    assert str(told) == "data: cannot be pushed to https://host/x: why"


def test_without_a_store_or_a_dataset_there_is_nothing_to_do(
    project: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "rm", "--quiet", "data.dvc")
    git(project, "commit", "--quiet", "--message=none")

    with pytest.raises(WorkspaceError, match=r"^revision HEAD: has no data.dvc; import a dataset"):
        push_dataset(settings, "HEAD", "")
    monkeypatch.delenv("LUNGSEG_REMOTE")
    with pytest.raises(ParamsError, match="LUNGSEG_REMOTE is not set, expected the URL of"):
        push_dataset(settings, "HEAD", "")
