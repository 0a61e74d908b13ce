from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ServiceError, WorkspaceError
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import join_cache
from pipeline.workspace.pushing import MARK_AGE_S, MARKS, push_results
from pipeline.workspace.reproduce import materialise, reproduce
from pipeline.workspace.workspace import Workspace
from tests.conftest import git
from tests.stores import KEY, SECRET, s3_store
from tests.workspace.two_stages import checkout, commit, dvc


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def stored(project: Path) -> set[str]:
    """What the remote of the project holds of results and run-cache entries."""
    store = project.with_name("store")
    files = {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
    return {name for name in files if name.startswith("runs/")}


@pytest.mark.slow
def test_a_push_that_failed_is_made_up_for_by_a_task_that_finds_its_stage_cached(
    project: Path, settings: Settings
) -> None:
    workspace, store = checkout(project, "one"), project.with_name("store")
    reproduce(workspace, "upper")
    store.rename(store.with_name("gone"))
    store.write_text("a file where a folder must be")
    with pytest.raises(
        WorkspaceError, match=r"^upper: its results are not pushed but stay in .*: "
    ):
        push_results(settings, workspace, "upper")
    store.unlink()
    store.with_name("gone").rename(store)

    status = reproduce(workspace, "upper")
    push_results(settings, workspace, "upper")

    second = checkout(project, "two")
    assert status == "cached"
    assert len(stored(project)) == 1
    assert reproduce(second, "upper") == "cached"
    materialise(second, "upper")
    assert (second.folder / "artifacts/upper.txt").read_text() == "LUNGS"


def test_a_later_task_pushes_what_the_earlier_ones_left_behind(
    project: Path, settings: Settings
) -> None:
    workspace = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(workspace, name)

    push_results(settings, workspace, "twice")

    assert len(stored(project)) == 2
    assert len(list((settings.home / MARKS).iterdir())) == 2


@pytest.mark.slow
def test_what_was_pushed_today_is_not_asked_for_again(
    project: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")
    push_results(settings, workspace, "upper")
    [mark] = (settings.home / MARKS).iterdir()
    shutil.rmtree(project.with_name("store"))

    push_results(settings, workspace, "upper")
    before = stored(project)
    os.utime(mark, (0, mark.stat().st_mtime - MARK_AGE_S - 1))
    push_results(settings, workspace, "upper")

    assert before == set()
    assert len(stored(project)) == 1


@pytest.mark.slow
def test_a_host_that_has_only_the_lock_of_a_cached_stage_pushes_without_complaint(
    project: Path, settings: Settings
) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
    push_results(settings, first, "twice")
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")
    there = stored(project)

    status = reproduce(second, "twice")
    push_results(Settings(home=project.with_name("other")), second, "twice")

    assert status == "cached"
    assert stored(project) == there


@pytest.mark.slow
def test_results_are_not_pushed_into_the_repository_itself(
    project: Path, settings: Settings
) -> None:
    dvc(project, "remote", "add", "--quiet", "--default", "--force", "samples", "samples")
    dvc(project, "push", "--quiet", "data")
    commit(project)
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")

    push_results(settings, workspace, "upper")

    assert git(workspace.folder, "status", "--porcelain", "samples") == ""


def test_without_a_remote_nothing_is_pushed(project: Path, settings: Settings) -> None:
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")
    dvc(workspace.folder, "remote", "remove", "store")

    push_results(settings, workspace, "upper")

    assert not settings.home.exists()


@pytest.fixture
def deployed(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace, with its stage done, whose deployment has a bucket over HTTP."""
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with s3_store(tmp_path / "s3") as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        workspace = checkout(project, "one")
        settings = Settings(repo=str(tmp_path / "none"), home=tmp_path / "home")
        reproduce(workspace, "upper")
        shutil.copytree(workspace.folder / ".dvc/cache", settings.home / "cache")
        point_to(settings, workspace, "s3://bucket/lungs", endpoint, monkeypatch)
        yield workspace


def point_to(
    settings: Settings,
    workspace: Workspace,
    url: str,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUNGSEG_REMOTE", url)
    monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", endpoint)
    join_cache(settings, workspace.folder)


@pytest.mark.slow
def test_a_store_that_is_away_is_tried_again_and_one_that_refuses_is_not(
    deployed: Workspace, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["LUNGSEG_REMOTE_ENDPOINT"]
    none = Settings(repo=str(tmp_path / "none"), home=tmp_path / "home")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(WorkspaceError, match=r"upper: its results are not .*request signature"):
        push_results(settings, deployed, "upper")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    point_to(none, deployed, "s3://missing/lungs", endpoint, monkeypatch)
    with pytest.raises(WorkspaceError, match=r"upper: its results are not .*bucket does not exist"):
        push_results(settings, deployed, "upper")
    point_to(none, deployed, "s3://bucket/lungs", "http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ServiceError, match=r"upper: its results are not .*Could not connect to"):
        push_results(settings, deployed, "upper")
    point_to(none, deployed, "s3://bucket/lungs", endpoint, monkeypatch)
    push_results(settings, deployed, "upper")

    found = {path.name for path in (tmp_path / "s3/bucket/lungs").iterdir()}
    assert found == {"files", "runs"}


def test_a_failure_of_dvc_alone_is_tried_again_and_told_without_a_login(
    project: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")
    bin_ = project.with_name("bin")
    bin_.mkdir()
    (bin_ / "dvc").write_text(
        "#!/bin/sh\necho 'ERROR: https://ci:secret@host/x: 3 files failed'\nexit 1\n"
    )
    (bin_ / "dvc").chmod(0o755)
    (bin_ / "python").symlink_to(sys.executable)
    broken = Workspace(workspace.folder, "HEAD", bin_ / "python")

    with pytest.raises(ServiceError, match="dvc push failed: https://host/x: 3 files failed; it"):
        push_results(settings, broken, "upper")
    assert capfd.readouterr().err.endswith("\nERROR: https://host/x: 3 files failed\n")


def test_a_lock_that_a_dead_process_left_does_not_block_the_workspace_of_a_run(
    project: Path, settings: Settings
) -> None:
    workspace = checkout(project, "one")
    workspace.save()
    lock = workspace.folder / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    # This process lives, as another one of the same id does in a container that began anew.
    holder = f'{{"pid": {os.getpid()}, "cmd": "dvc repro"}}'
    out = workspace.folder / "artifacts/upper.txt"
    lock.write_text(f'{{"write": {{"{out}": {holder}}}, "read": {{}}}}')

    assert reproduce(workspace, "upper") == "ran"


def test_a_project_that_a_person_works_in_keeps_dvcs_own_locks(project: Path) -> None:
    workspace = checkout(project, "one")
    lock = workspace.folder / ".dvc/tmp/rwlock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text('{"write": {}, "read": {"/elsewhere": [{"pid": 1, "cmd": "dvc repro"}]}}')

    reproduce(workspace, "upper")

    assert "/elsewhere" in lock.read_text()


HOLDS = """
import subprocess, sys
from pathlib import Path
from pipeline.workspace.lock import hold_workspace
with hold_workspace(Path(sys.argv[1])) as descriptor:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    print(child.pid, flush=True)
    child.wait()
"""


def test_a_workspace_is_held_until_the_last_child_of_a_killed_task_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        child = int(task.stdout.readline())
        task.kill()
    probe = ["flock", "--nonblock", str(tmp_path / "run.lock"), "true"]

    held = subprocess.run(probe).returncode
    os.kill(child, 9)
    free = subprocess.run(["flock", "--timeout", "5", *probe[2:]]).returncode

    assert (held, free) == (1, 0)
