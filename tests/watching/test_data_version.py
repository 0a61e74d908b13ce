from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Airflow's own imports warn
    from pipeline.watching import data_version


class AssetStore:
    """Airflow's store of what is kept of an asset."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.broken = False

    async def aget(self, key: str) -> Any:
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        if self.broken:
            raise RuntimeError("Airflow does not answer")
        self.kept[key] = value


class Remote:
    """A bare repository that commits are pushed to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
        git(folder, "clone", "--quiet", "remote.git", "clone")
        self.url = (folder / "remote.git").as_uri()

    def push(self, branch: str = "main", **files: str) -> str:
        git(self.folder, "checkout", "--quiet", "-B", branch)
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message=Change files")
        git(self.folder, "push", "--quiet", "origin", branch)
        return git(self.folder, "rev-parse", "HEAD")

    def push_data(self, md5: str, branch: str = "main") -> str:
        return self.push(branch, data_dvc=f"outs:\n- md5: {md5}.dir\n  path: data\n")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path)
    made.push_data("one")
    return made


def trigger(remote: Remote, store: AssetStore, **options: Any) -> Any:
    """The trigger as a new process of Airflow has it."""
    made = data_version.DataVersionTrigger(remote.url, 10, **options)
    made.asset_state_store = store
    return made


def look(watching: Any) -> list[dict[str, str]]:
    """The payloads of the events of one look."""

    async def collect() -> list[dict[str, str]]:
        return [event.payload async for event in watching.look()]

    return asyncio.run(collect())


def test_new_data_are_one_event_with_commit_and_md5(remote: Remote) -> None:
    store = AssetStore()
    watching = trigger(remote, store)

    first = look(watching)
    commit = remote.push_data("two")
    second, third = look(watching), look(watching)

    assert first == []
    assert second == [{"commit": commit, "md5": "two.dir"}]
    assert third == []


def test_commit_that_leaves_the_data_alone_is_no_event(remote: Remote) -> None:
    watching = trigger(remote, AssetStore())
    look(watching)
    remote.push(params_yaml="train: {}\n")

    assert look(watching) == []


def test_restart_tells_of_what_came_meanwhile_and_of_nothing_twice(remote: Remote) -> None:
    store = AssetStore()
    look(trigger(remote, store))
    commit = remote.push_data("two")

    after = look(trigger(remote, store))
    again = look(trigger(remote, store))

    assert after == [{"commit": commit, "md5": "two.dir"}]
    assert again == []


def test_event_that_was_not_kept_is_not_repeated_by_the_same_process(remote: Remote) -> None:
    store = AssetStore()
    watching = trigger(remote, store)
    look(watching)
    remote.push_data("two")
    store.broken = True
    found = []

    async def take_one() -> None:
        looking = watching.look()
        found.append(await anext(looking))
        await anext(looking)

    with pytest.raises(RuntimeError, match="does not answer"):
        asyncio.run(take_one())

    assert len(found) == 1
    assert look(watching) == []


def test_first_look_at_another_repository_tells_of_nothing(remote: Remote, tmp_path: Path) -> None:
    store = AssetStore()
    look(trigger(remote, store))
    (tmp_path / "other").mkdir()
    other = Remote(tmp_path / "other")
    other.push_data("two")

    assert look(trigger(other, store)) == []


def test_only_the_branch_that_is_named_is_watched(remote: Remote) -> None:
    store = AssetStore()
    remote.push_data("one", "release")
    watching = trigger(remote, store, branch="release")
    look(watching)
    remote.push_data("two", "main")
    before = look(watching)
    commit = remote.push_data("three", "release")

    assert before == []
    assert look(watching) == [{"commit": commit, "md5": "three.dir"}]


@pytest.mark.parametrize("text", ["", "outs: []\n", "- 1\n"])
def test_data_without_a_version_are_said_so(remote: Remote, text: str) -> None:
    remote.push(data_dvc=text or "\n")

    with pytest.raises(OSError, match="names no md5"):
        look(trigger(remote, AssetStore()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"branch": "nowhere"}, "no refs/heads/nowhere"), ({}, "git ls-remote: ")],
)
def test_look_that_fails_says_why_without_a_login_and_the_next_one_comes(
    remote: Remote,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    reason: str,
) -> None:
    store = AssetStore()
    remote.url = remote.url.replace("//", "//me:secret@")
    watching = trigger(remote, store, **options)
    store.kept[data_version.SEEN] = {"repo": remote.url, "commit": "x", "md5": "y"}
    if not options:
        (remote.folder.parent / "remote.git").rename(remote.folder.parent / "away")
    looks = []

    async def tired(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise StopIteration

    monkeypatch.setattr(data_version.asyncio, "sleep", tired)

    async def follow() -> None:
        with pytest.raises(RuntimeError):
            async for _ in watching.run():
                pass

    asyncio.run(follow())

    assert looks == [10, 10]
    logged = capsys.readouterr().out
    assert reason in logged
    assert "secret" not in logged


def test_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_version, "PATIENCE", 0.2)
    hang = ["-c", "alias.hang=!sleep 60", "hang"]

    with pytest.raises(TimeoutError):
        asyncio.run(data_version.git(*hang))


def test_airflow_makes_the_trigger_anew_from_what_it_keeps_of_it(remote: Remote) -> None:
    path, arguments = trigger(remote, AssetStore(), branch="main").serialize()

    assert path == "pipeline.watching.data_version.DataVersionTrigger"
    assert data_version.DataVersionTrigger(**arguments).serialize() == (path, arguments)


def test_trigger_imports_of_the_project_only_what_is_as_light() -> None:
    code = "import sys, airflow.triggers.base, pipeline.watching.data_version; print(*sys.modules)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    loaded = {name for name in done.stdout.split() if name.partition(".")[0] == "pipeline"}
    light = {"pipeline.git_command", "pipeline.settings", "pipeline.errors"}
    assert loaded == {"pipeline", "pipeline.watching", "pipeline.watching.data_version", *light}
