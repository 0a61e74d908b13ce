from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.dataset.delivery import swap
from pipeline.dataset.versions.versions import find_version
from pipeline.errors import WorkspaceError
from pipeline.git_command import run_git, without_login
from pipeline.settings import Settings
from pipeline.workspace.revisions import refuse_uncommitted
from pipeline.workspace.workspace import RunRequest, make_workspace
from tests.conftest import git

REFUSED = r"^\S+/their project: belongs to another user, expected this one, .*`chown -R` it"


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that git takes for another user's."""
    folder = tmp_path / "their project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=first")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    return folder


def test_every_verb_says_that_a_repository_is_another_users(foreign: Path, tmp_path: Path) -> None:
    settings = Settings(repo=str(foreign), home=tmp_path / "home")

    for verb in (
        lambda: refuse_uncommitted(str(foreign)),
        lambda: make_workspace(settings, RunRequest("one"), None),
        lambda: find_version(foreign, "HEAD"),
        lambda: swap._uncommitted(foreign),
    ):
        with pytest.raises(WorkspaceError, match=REFUSED):
            verb()


def test_what_is_said_of_it_helps_also_where_it_is_cloned(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=REFUSED) as refused:
        run_git(["clone", "--quiet", str(foreign), "copy"], tmp_path)
    [remedy] = re.findall(r"trust it: `(.+)`$", str(refused.value))

    for command in remedy.split(" && "):
        subprocess.run(shlex.split(command), check=True, cwd=tmp_path)

    assert run_git(["clone", "--quiet", str(foreign), "copy"], tmp_path).returncode == 0
    assert run_git(["status"], foreign).returncode == 0


def test_another_failure_is_left_to_who_asked(tmp_path: Path) -> None:
    done = run_git(["rev-parse", "--verify", "nowhere"], tmp_path)

    assert done.returncode
    assert done.stderr


@pytest.mark.parametrize("login", ["ci:token@", "token@", "ci:to@ken@", ""])
def test_an_address_is_shown_without_its_login(login: str) -> None:
    text = f"not in https://{login}git.example/a@b.git, nor in /home/me@work"

    assert without_login(text) == "not in https://git.example/a@b.git, nor in /home/me@work"


def test_what_git_says_of_an_address_names_no_login(tmp_path: Path) -> None:
    done = run_git(["clone", "https://ci:to@ken@127.0.0.1:1/x.git"], tmp_path)

    assert "https://127.0.0.1:1/x.git" in done.stderr
    assert "ken" not in done.stderr
