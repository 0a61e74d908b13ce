from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from configobj import ConfigObj
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deployment.links import Site
from pipeline.errors import ParamsError, WorkspaceError
from pipeline.remote_store import remote_url
from pipeline.settings import Settings, child_environment
from pipeline.workspace import dvc_config
from pipeline.workspace import workspace as module
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.revisions import checkout_revision
from pipeline.workspace.workspace import (
    RunRequest,
    find_workspace,
    make_workspace,
    workspace_folder,
)
from tests.conftest import PROJECT, git, mode_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small repository with what a workspace reads of the project."""
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "uv.lock"):
        shutil.copy(PROJECT / name, folder / name)
    (folder / "pipeline").mkdir()
    (folder / "pipeline/conventions.py").touch()
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


@pytest.fixture
def settings(project: Path, tmp_path: Path) -> Settings:
    return Settings(repo=str(project), home=tmp_path / "home")


def leftovers(settings: Settings) -> list[str]:
    runs = settings.home / "runs"
    return [path.name for path in runs.iterdir() if path.suffix != ".lock"]


def test_a_workspace_is_a_checkout_of_the_revision_asked_for(
    settings: Settings,
    project: Path,
) -> None:
    first = git(project, "rev-parse", "HEAD")
    (project / "later.txt").write_text("later")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=second")

    old = make_workspace(settings, RunRequest("run:1+00", revision=first), None)
    new = make_workspace(settings, RunRequest("run:2+00", revision="main"), None)

    assert old.revision == first
    assert not (old.folder / "later.txt").exists()
    assert (new.folder / "later.txt").exists()
    assert old.folder.name.startswith("run_1_00-")
    assert old.python == Path(sys.executable)


def test_a_workspace_follows_a_project_that_was_moved(
    settings: Settings, project: Path, tmp_path: Path
) -> None:
    made = make_workspace(settings, RunRequest("one"), None)
    replace(made, python=tmp_path / "project/.venv/bin/python").save()  # gone by then
    project.rename(tmp_path / "moved")
    settings.home.rename(tmp_path / "moved home")

    moved = Settings(repo=str(tmp_path / "moved"), home=tmp_path / "moved home")
    found = find_workspace(moved, "one")

    assert found == replace(made, folder=tmp_path / "moved home/runs/one")
    config = ConfigObj(str(found.folder / ".dvc/config.local"))
    assert config["cache"]["dir"] == str(tmp_path / "moved/.dvc/cache")
    assert find_workspace(moved, "one") == found


def test_a_revision_that_was_pushed_after_the_local_checkout_is_found(
    project: Path, tmp_path: Path
) -> None:
    deployed = tmp_path / "deployed"
    git(tmp_path, "clone", "--quiet", "project", "deployed")
    git(deployed, "remote", "set-url", "origin", "../project")
    (project / "later.txt").write_text("later")
    git(project, "checkout", "--quiet", "-b", "next")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=second")
    settings = Settings(repo=str(deployed), home=tmp_path / "home")

    named = make_workspace(settings, RunRequest("one", revision="next"), None)
    commit = make_workspace(settings, RunRequest("two", revision=named.revision), None)

    assert named.revision == git(project, "rev-parse", "HEAD")
    assert (commit.folder / "later.txt").exists()
    with pytest.raises(WorkspaceError, match=r"'nowhere': not in .*deployed or .*project; name"):
        make_workspace(settings, RunRequest("three", revision="nowhere"), None)


def test_a_revision_that_is_nowhere_is_refused_without_the_login_of_an_address(
    project: Path, tmp_path: Path
) -> None:
    url = project.as_uri().replace("//", "//ci:secret@")
    git(tmp_path, "clone", "--quiet", url, "deployed")

    for number, repo in enumerate((url, str(tmp_path / "deployed"))):
        with pytest.raises(WorkspaceError, match=rf"in .*{project.as_uri()}; name") as refused:
            checkout_revision(repo, "nowhere", tmp_path / str(number))
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["HEAD", "main", "side"])
@pytest.mark.parametrize(
    ("date", "number"),
    [
        ("2026-03-01", 0),
        ("2026-04-01T00:00:00+00:00", 0),
        ("2026-04-02T12:30:00.5Z", 1),
        ("2026-04-01", 0),  # before the day, whatever the clock of this host says
        ("2026-04-02", 1),
        ("2026-04-01T12:00:01", 1),
        ("2026-04-01 11:59:59", 0),
    ],
)
def test_a_revision_with_a_date_is_the_newest_commit_before_it(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    date: str,
    number: int,
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    for month in (2, 4):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-{month:02}-01T12:00:00+00:00")
        amend = ["--amend"] if month == 2 else []
        git(project, "commit", *amend, "--quiet", "--allow-empty", f"--message={month}")
    git(project, "branch", "side")
    commits = git(project, "log", "--reverse", "--format=%H").split()

    found = checkout_revision(str(project), f"{name}@{{{date}}}", tmp_path / "checkout")

    assert found == commits[number]


@pytest.mark.parametrize("revision", ["main@{2001-01-01}", "nowhere@{2026-01-01}", "main@{soon}"])
def test_a_revision_of_a_date_without_a_commit_is_refused(
    project: Path, tmp_path: Path, revision: str
) -> None:
    with pytest.raises(WorkspaceError, match="name a commit, branch or tag"):
        checkout_revision(str(project), revision, tmp_path / "checkout")


def test_a_workspace_is_made_once_and_found_again(settings: Settings) -> None:
    made = make_workspace(settings, RunRequest("one"), None)
    (made.folder / "mark").touch()

    again = make_workspace(settings, RunRequest("one"), None)

    assert again == made
    assert find_workspace(settings, "one") == made
    assert (again.folder / "mark").exists()
    assert find_workspace(settings, "two") is None


def test_overrides_change_the_parameters_of_this_run_only(
    settings: Settings, project: Path
) -> None:
    request = RunRequest("one", overrides=("train.epochs=3", "train.filters=[4, 8]"))

    workspace = make_workspace(settings, request, None)

    params = yaml.safe_load((workspace.folder / "params.yaml").read_text())
    assert params["train"]["epochs"] == 3
    assert params["train"]["filters"] == [4, 8]
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (RunRequest("one", revision="nowhere"), WorkspaceError, "revision 'nowhere': not in"),
        (RunRequest("one", overrides=("train.epoch=3",)), ParamsError, "no key train.epoch"),
    ],
)
def test_a_wrong_request_leaves_no_workspace(
    settings: Settings,
    request_: RunRequest,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        make_workspace(settings, request_, None)

    assert leftovers(settings) == []


@pytest.mark.parametrize("missing", ["dvc.yaml", "uv.lock"])
def test_a_revision_that_is_not_this_project_is_refused(
    settings: Settings,
    project: Path,
    missing: str,
) -> None:
    git(project, "rm", "--quiet", missing)
    git(project, "commit", "--quiet", "--message=without")

    with pytest.raises(WorkspaceError, match=missing):
        make_workspace(settings, RunRequest("one"), None)


def test_a_revision_that_the_gate_cannot_judge_is_refused_before_anything_runs(
    settings: Settings, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = make_workspace(settings, RunRequest("begun"), None)
    git(begun.folder, "rm", "--quiet", "pipeline/conventions.py")  # as before an upgrade
    git(project, "rm", "--quiet", "pipeline/conventions.py")
    git(project, "commit", "--quiet", "--message=former")
    monkeypatch.setattr(module, "find_interpreter", lambda *_: pytest.fail("made an environment"))

    with pytest.raises(WorkspaceError, match=r"^revision main: has no .*; to train on its data"):
        make_workspace(settings, RunRequest("one", revision="main"), None)

    assert leftovers(settings) == ["begun"]
    with pytest.raises(WorkspaceError, match=f"^revision {begun.revision}: has no .* version 0.3"):
        find_workspace(settings, "begun")


def test_a_repository_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    settings = Settings(repo=str(tmp_path / "none"), home=tmp_path / "home")

    with pytest.raises(WorkspaceError, match=r"git clone: .*none"):
        make_workspace(settings, RunRequest("one"), None)


def test_workspaces_share_the_cache_and_the_deployments_own_remote(
    settings: Settings,
    project: Path,
) -> None:
    (project / ".dvc/config.local").write_text("['remote \"site\"']\n    url = ../../store\n")

    workspace = make_workspace(settings, RunRequest("one"), None)

    written = (workspace.folder / ".dvc/config.local").read_text()
    assert f"dir = {project}/.dvc/cache" in written
    assert f"url = {project.parent}/store" in written


COMMITTED = """
[core]
    remote = store
['remote "store"']
    url = ../../store
    keyfile = ../../key
['remote "samples"']
    url = ../samples
['remote "far"']
    url = s3://bucket
['remote "home"']
    url = ~/store
"""


@pytest.fixture
def committed(project: Path) -> None:
    """The project names its remotes by relative paths, as `dvc remote add` writes them."""
    (project / ".dvc/config").write_text(COMMITTED)
    git(project, "commit", "--quiet", "--all", "--message=remotes")


@pytest.mark.usefixtures("committed")
def test_a_committed_remote_out_of_the_project_is_the_same_in_every_checkout(
    settings: Settings, project: Path
) -> None:
    workspace = make_workspace(settings, RunRequest("one"), None)
    with Site(settings) as site:
        deployed = remote_url(site.project)

    written = ConfigObj(str(workspace.folder / ".dvc/config.local"))
    remote = {"url": f"{project.parent}/store", "keyfile": f"{project.parent}/key"}
    assert written['remote "store"'] == remote
    assert written.sections == ['remote "store"', "cache"]
    assert remote_url(workspace.folder) == deployed == remote_url(project) == remote["url"]


@pytest.mark.usefixtures("committed")
def test_the_deployments_own_settings_come_before_committed_ones(
    settings: Settings, project: Path
) -> None:
    local = "['remote \"store\"']\n    url = ../../other\n    keyfile = ../../../own\n"
    (project / ".dvc/config.local").write_text(local)

    workspace = make_workspace(settings, RunRequest("one"), None)

    written = ConfigObj(str(workspace.folder / ".dvc/config.local"))
    assert written['remote "store"'] == {
        "url": f"{project.parent}/other",
        "keyfile": f"{project.parent.parent}/own",
    }


@pytest.mark.usefixtures("committed")
def test_a_default_remote_that_a_clone_of_a_url_cannot_find_is_refused(
    settings: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(repo=project.as_uri(), home=tmp_path / "home")

    with pytest.raises(WorkspaceError, match=r"^\.dvc/config: found \.\./\.\./store as the url of"):
        make_workspace(settings, RunRequest("one"), None)

    assert leftovers(settings) == []
    monkeypatch.setenv("LUNGSEG_REMOTE", "s3://bucket/a")
    settings = Settings(repo=project.as_uri(), home=tmp_path / "home")
    workspace = make_workspace(settings, RunRequest("one"), None)
    assert remote_url(workspace.folder) == "s3://bucket/a"


def test_a_remote_in_the_home_of_the_user_is_a_store(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".dvc/config").write_text(COMMITTED.replace("remote = store", "remote = home"))
    monkeypatch.setenv("HOME", "/users/somebody")

    assert remote_url(project) == "/users/somebody/store"


@pytest.mark.parametrize(
    ("url", "endpoint", "expected"),
    [
        ("s3://bucket/a", "http://store:9000", {"endpointurl": "http://store:9000"}),
        ("s3://bucket/a", "", {}),
        ("gs://bucket/a", "", {}),
    ],
)
def test_a_deployment_has_its_own_remote_without_a_commit(
    url: str,
    endpoint: str,
    expected: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUNGSEG_REMOTE", url)
    monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", endpoint)

    workspace = make_workspace(settings, RunRequest("one"), None)

    written = ConfigObj(str(workspace.folder / ".dvc/config.local"))
    remote = written['remote "deployment"']
    assert written["core"]["remote"] == "deployment"
    assert remote["url"] == url
    assert {key: remote[key] for key in remote if key == "endpointurl"} == expected
    assert git(workspace.folder, "status", "--porcelain", ".dvc/config") == ""


def test_secrets_of_a_remote_are_for_no_other_users_eyes_from_the_first_byte(
    settings: Settings, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = project / ".dvc/config.local"
    local.write_text("")
    git(project, "add", "--force", ".dvc/config.local")  # a checkout begins with one of 0666
    git(project, "commit", "--quiet", "--message=no secrets")
    local.write_text("['remote \"site\"']\n    url = s3://site\n    password = hush\n")
    modes: list[int] = []

    class Watched(ConfigObj):  # type: ignore[misc]
        def write(self, *files: IO[bytes], **options: Any) -> Any:
            answer = super().write(*files, **options)
            for file in files:
                file.flush()
            lying = [path for path in settings.home.rglob(".dvc/*") if path.is_file()]
            modes.extend(mode_of(path) for path in lying if "hush" in path.read_text())
            return answer

    monkeypatch.setattr(dvc_config, "ConfigObj", Watched)
    os.umask(0)

    workspace = make_workspace(settings, RunRequest("one"), None)

    assert set(modes) == {0o600}
    assert "password = hush" in (workspace.folder / ".dvc/config.local").read_text()
    assert mode_of(workspace.folder / ".dvc/config.local") == 0o600


def test_the_cache_follows_dvcs_own_setting(settings: Settings, project: Path) -> None:
    (project / ".dvc/config.local").write_text("[cache]\n    dir = ../../elsewhere\n")

    assert shared_cache(settings) == project.parent / "elsewhere"


def test_the_cache_follows_a_setting_of_the_user_where_the_project_has_none(
    settings: Settings, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "of the user"))
    git(tmp_path, "init", "--quiet")
    command = ["dvc", "config", "--global", "cache.dir", str(tmp_path / "large")]
    subprocess.run(command, cwd=tmp_path, env=child_environment(), check=True)

    assert shared_cache(settings) == tmp_path / "large"

    (project / ".dvc/config").write_text("[cache]\n    dir = own\n")
    assert shared_cache(settings) == project / ".dvc/own"


def test_a_remote_repository_gets_a_cache_below_the_home(tmp_path: Path) -> None:
    settings = Settings(repo="https://example.org/project.git", home=tmp_path)

    assert shared_cache(settings) == tmp_path / "cache"


def test_a_workspace_starts_from_a_known_lock_only_when_git_has_none(
    settings: Settings,
    project: Path,
    tmp_path: Path,
) -> None:
    known = tmp_path / "known.lock"
    known.write_text("schema: '2.0'\n")
    seeded = make_workspace(settings, RunRequest("one"), known)
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=lock")

    committed = make_workspace(settings, RunRequest("two"), known)

    assert (seeded.folder / "dvc.lock").read_text() == known.read_text()
    assert "stages" in (committed.folder / "dvc.lock").read_text()


@pytest.mark.parametrize("run_id", ["local-20261123T130000", "a_b", "search-55.934389.3", "7"])
def test_a_plain_run_id_is_the_name_of_its_folder(run_id: str) -> None:
    assert workspace_folder(Settings(home=Path("/home")), run_id) == Path("/home/runs", run_id)


def test_the_folder_of_an_airflow_run_is_told_by_its_date() -> None:
    name = workspace_folder(Settings(home=Path("/home")), "manual__2026-11-23T13:00:00+00:00").name

    assert re.fullmatch(r"manual__2026-11-23T13_00_00_00_00-[0-9a-f]{16}", name)


ODD_IDS = ["", ".", "..", "/", "a:b", "a+b", "a_b", "a/b", "a.lock", "a.partial", "a", "-a", "../a"]


@given(ids=st.lists(st.sampled_from(ODD_IDS) | st.text(max_size=300), unique=True, max_size=8))
def test_every_run_has_a_folder_of_its_own_directly_below_runs(ids: list[str]) -> None:
    settings = Settings(home=Path("/home"))
    ids += [workspace_folder(settings, one).name for one in ids]  # an id may look like a name

    folders = {one: workspace_folder(settings, one) for one in ids}

    assert len(set(folders.values())) == len(set(ids))
    for folder in folders.values():
        assert folder.parent == Path("/home/runs")
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", folder.name)
        assert folder.suffix not in (".lock", ".partial")
