from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import ServiceError
from pipeline.files import atomic_folder, write_sums
from pipeline.parts import StagePart
from pipeline.remote_store import RemoteStore
from pipeline.settings import Settings
from pipeline.workspace.stage_parts import ROOT, StageParts, part_count
from pipeline.workspace.workspace import Workspace
from tests.conftest import PROJECT
from tests.workspace.two_stages import checkout

FIRST, SECOND = StagePart(1, 2), StagePart(2, 2)


class Host:
    """A host with a workspace of the run, and what it knows of the parts of a stage."""

    def __init__(self, project: Path, name: str, mlflow_run: str = "m1") -> None:
        found = checkout(project, f"{name}-run")
        folder = project.parent / name / "runs" / "run-1"
        folder.parent.mkdir(parents=True)
        shutil.move(found.folder, folder)
        remote = f"[core]\nremote = here\n['remote \"here\"']\nurl = {project.parent}/store\n"
        (folder / ".dvc/config.local").write_text(remote)
        self.workspace = Workspace(folder, "HEAD", found.python, mlflow_run)
        self.parts = StageParts(Settings(home=project.parent / name), self.workspace, "upper")

    def make(self, part: StagePart, text: str = "lungs") -> None:
        with atomic_folder(self.parts.folder / part.folder) as folder:
            (folder / "text.txt").write_text(f"{text} {part}")
            write_sums(folder)


@pytest.fixture
def hosts(project: Path) -> tuple[Host, Host]:
    return Host(project, "one"), Host(project, "two")


def stored(project: Path) -> list[str]:
    root = project.with_name("store") / ROOT
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_parts_of_one_host_reach_another_whole_and_are_removed_at_the_end(
    project: Path, hosts: tuple[Host, Host]
) -> None:
    one, two = hosts
    one.make(FIRST)
    two.make(SECOND)
    one.parts.send(FIRST)

    two.parts.fetch()

    assert stored(project) == [f"m1/upper/1-of-2/{name}" for name in ("SHA256SUMS", "text.txt")]
    assert two.parts.made(FIRST) == two.parts.folder / "1-of-2"
    assert (two.parts.folder / "1-of-2/text.txt").read_text() == "lungs 1/2"
    assert two.parts.made(SECOND)
    assert one.parts.made(SECOND) is None
    two.parts.clear()
    assert stored(project) == []
    assert not two.parts.folder.exists()


def test_parts_of_another_deployment_whose_run_has_the_same_name_are_not_taken(
    project: Path,
) -> None:
    one, other = Host(project, "one"), Host(project, "other", mlflow_run="m2")
    one.make(FIRST)
    one.parts.send(FIRST)

    other.parts.fetch()
    other.parts.clear()

    assert other.parts.made(FIRST) is None
    assert len(stored(project)) == 2


def test_a_part_that_was_not_sent_whole_is_not_fetched(
    project: Path, hosts: tuple[Host, Host]
) -> None:
    one, two = hosts
    one.make(FIRST)
    one.parts.send(FIRST)
    (project.with_name("store") / ROOT / "m1/upper/1-of-2/SHA256SUMS").unlink()

    two.parts.fetch()

    assert not two.parts.folder.exists()


@pytest.mark.parametrize("place", ["store", "host"])
def test_a_damaged_part_is_done_again(
    project: Path, hosts: tuple[Host, Host], caplog: pytest.LogCaptureFixture, place: str
) -> None:
    one, two = hosts
    one.make(FIRST)
    one.parts.send(FIRST)
    two.make(SECOND)
    damaged = {
        "store": project.with_name("store") / ROOT / "m1/upper/1-of-2/text.txt",
        "host": two.parts.folder / "2-of-2/text.txt",
    }
    damaged[place].write_text("other")

    two.parts.fetch()

    left = {"store": [None, "2-of-2"], "host": ["1-of-2", None]}[place]
    found = [two.parts.made(part) for part in (FIRST, SECOND)]
    assert [folder and folder.name for folder in found] == left
    assert "damaged, so this part is done again" in caplog.text


def test_a_store_that_is_away_is_worth_a_retry_but_cleaning_up_is_not(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise ServiceError("the store does not answer")

    one, _ = hosts
    one.make(FIRST)
    for method in ("put", "get", "list"):
        monkeypatch.setattr(RemoteStore, method, away)

    for ask in (one.parts.fetch, lambda: one.parts.send(FIRST)):
        with pytest.raises(ServiceError, match="does not answer"):
            ask()
    one.parts.clear()

    assert "the parts of a finished stage stay in the store" in caplog.text


def test_one_host_without_a_store_keeps_its_parts_to_itself(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "runs/run-1", "HEAD", tmp_path, "m1")
    parts = StageParts(Settings(home=tmp_path), workspace, "upper")
    (parts.folder / "1-of-2").mkdir(parents=True)
    write_sums(parts.folder / "1-of-2")

    parts.send(FIRST)
    parts.fetch()

    assert parts.made(FIRST)
    parts.clear()
    assert not parts.folder.exists()


def test_a_revision_that_knows_no_parts_does_its_stages_in_one_piece(project: Path) -> None:
    assert part_count(project) == 1
    assert part_count(PROJECT) == 1  # as params.yaml says
