from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import CrashedError, ParamsError, StageError, WorkspaceError
from pipeline.run.reproduce import (
    materialise,
    push_results,
    reproduce,
    stage_definition,
    stage_names,
    stage_outputs,
)
from pipeline.run.workspace import Workspace
from pipeline.settings import child_environment
from tests.conftest import git

pytestmark = pytest.mark.slow

GRAPH = """
stages:
  upper:
    cmd: python upper.py
    deps: [data, upper.py]
    outs: [artifacts/upper.txt]
  twice:
    cmd: python twice.py
    deps: [artifacts/upper.txt, twice.py]
    metrics: [artifacts/twice.json]
    plots:
      - artifacts/twice.csv: {x: a}
"""
UPPER = """
import pathlib
pathlib.Path("artifacts").mkdir(exist_ok=True)
text = pathlib.Path("data/text.txt").read_text().upper()
pathlib.Path("artifacts/upper.txt").write_text(text)
"""
TWICE = """
import json, pathlib
text = pathlib.Path("artifacts/upper.txt").read_text()
pathlib.Path("artifacts/twice.json").write_text(json.dumps({"length": 2 * len(text)}))
pathlib.Path("artifacts/twice.csv").write_text("a\\n1\\n")
"""
REFUSES = """
import json, os, pathlib, sys
content = {"message": "data: too short; add words", "exit_code": 75}
pathlib.Path(os.environ["LUNGSEG_ERROR_FILE"]).write_text(json.dumps(content))
sys.exit(75)
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run(["dvc", *arguments], cwd=folder, env=child_environment(), check=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of two stages whose data lie in a remote outside of it."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data/text.txt").write_text("lungs")
    for name, text in {"dvc.yaml": GRAPH, "upper.py": UPPER, "twice.py": TWICE}.items():
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    dvc(folder, "init", "--quiet")
    dvc(folder, "remote", "add", "--quiet", "--default", "store", str(tmp_path / "store"))
    dvc(folder, "add", "--quiet", "data")
    dvc(folder, "push", "--quiet", "data")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=next")


def checkout(project: Path, name: str) -> Workspace:
    """A clone with an empty cache of its own, as another host would have it."""
    folder = project.with_name(name)
    git(project.parent, "clone", "--quiet", str(project), str(folder))
    return Workspace(folder, "HEAD", Path(sys.executable))


def test_dvc_yaml_tells_stages_and_outputs(project: Path) -> None:
    assert stage_names(project) == ["upper", "twice"]
    assert stage_outputs(project, "twice") == [
        Path("artifacts/twice.json"),
        Path("artifacts/twice.csv"),
    ]
    with pytest.raises(ParamsError, match=r"stage 'other': not in dvc.yaml, expected one of upper"):
        stage_definition(project, "other")


def test_a_stage_runs_once_and_is_cached_afterwards(project: Path) -> None:
    workspace, starts = checkout(project, "one"), []

    statuses = [
        reproduce(workspace, name, started=lambda: starts.append(1))
        for name in ("upper", "twice", "upper", "twice")
    ]

    assert statuses == ["ran", "ran", "cached", "cached"]
    assert len(starts) == 2
    assert (workspace.folder / "artifacts/twice.json").read_text() == '{"length": 10}'
    assert reproduce(workspace, "upper", force=True) == "ran"


def test_another_host_takes_results_from_the_remote_without_the_data(project: Path) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
        push_results(first, name)
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    statuses = [reproduce(second, name) for name in ("upper", "twice")]
    materialise(second, "twice")

    assert statuses == ["cached", "cached"]
    assert (second.folder / "artifacts/twice.json").exists()
    assert not (second.folder / "data").exists()
    materialise(second, "data")
    assert (second.folder / "data/text.txt").read_text() == "lungs"


def test_a_new_version_of_the_data_is_seen_though_it_is_not_checked_out(project: Path) -> None:
    first = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(first, name)
    (project / "data/text.txt").write_text("lungs and heart")
    dvc(project, "add", "--quiet", "data")
    dvc(project, "push", "--quiet", "data")
    commit(project)
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    statuses = [reproduce(second, name) for name in ("upper", "twice")]

    assert statuses == ["ran", "ran"]
    assert (second.folder / "artifacts/twice.json").read_text() == '{"length": 30}'


def test_a_host_whose_lock_is_older_takes_what_the_others_pushed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = checkout(project, "old")
    for name in ("upper", "twice"):
        reproduce(old, name)
    (project / "data/text.txt").write_text("lungs and heart")
    dvc(project, "add", "--quiet", "data")
    dvc(project, "push", "--quiet", "data")
    commit(project)
    first, second = checkout(project, "one"), checkout(project, "two")
    reproduce(first, "upper")
    push_results(first, "upper")
    shutil.copyfile(old.folder / "dvc.lock", second.folder / "dvc.lock")

    starts: list[int] = []
    capsys.readouterr()
    status = reproduce(second, "twice", started=lambda: starts.append(1))

    assert (status, starts) == ("ran", [1])
    assert "Running stage 'upper'" not in capsys.readouterr().err
    assert (second.folder / "artifacts/twice.json").read_text() == '{"length": 30}'


def test_force_runs_the_stage_again_and_none_before_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = checkout(project, "one")
    for name in ("upper", "twice"):
        reproduce(workspace, name)
    capsys.readouterr()

    status = reproduce(workspace, "twice", force=True)

    lines = capsys.readouterr().err.splitlines()
    assert status == "ran"
    assert [line for line in lines if "Running" in line] == ["Running stage 'twice':"]


def test_a_result_that_nobody_holds_is_one_line(project: Path) -> None:
    first = checkout(project, "one")
    reproduce(first, "upper")
    second = checkout(project, "two")
    shutil.copyfile(first.folder / "dvc.lock", second.folder / "dvc.lock")

    with pytest.raises(WorkspaceError, match="upper: neither the DVC cache nor the remote holds"):
        materialise(second, "upper")


def test_results_are_not_pushed_into_the_repository_itself(project: Path) -> None:
    dvc(project, "remote", "add", "--quiet", "--default", "--force", "samples", "samples")
    dvc(project, "push", "--quiet", "data")
    commit(project)
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")

    push_results(workspace, "upper")

    assert git(workspace.folder, "status", "--porcelain", "samples") == ""


def test_a_remote_that_cannot_be_written_is_one_line(project: Path, tmp_path: Path) -> None:
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("a file where a folder must be")

    with pytest.raises(WorkspaceError, match="dvc push upper: "):
        push_results(workspace, "upper")


def test_without_a_remote_nothing_is_pushed(project: Path) -> None:
    workspace = checkout(project, "one")
    reproduce(workspace, "upper")
    dvc(workspace.folder, "remote", "remove", "store")

    push_results(workspace, "upper")


def test_a_stages_own_refusal_comes_through_with_its_exit_code(project: Path) -> None:
    (project / "upper.py").write_text(REFUSES)
    commit(project)

    with pytest.raises(StageError, match="data: too short; add words") as refusal:
        reproduce(checkout(project, "one"), "upper")

    assert refusal.value.exit_code == 75


def test_a_killed_stage_is_a_crash_and_leaves_no_output(project: Path) -> None:
    (project / "upper.py").write_text(DIES)
    commit(project)
    workspace = checkout(project, "one")

    with pytest.raises(CrashedError, match="upper: stopped without giving a reason") as crash:
        reproduce(workspace, "upper")

    assert crash.value.exit_code == 70
    assert not (workspace.folder / "artifacts/upper.txt").exists()
