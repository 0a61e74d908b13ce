"""Runs whose tasks are done by several hosts, each with a workspace and a dvc.lock of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline.params_file import read_yaml
from pipeline.run import task
from pipeline.run.recording import take_recorded
from pipeline.settings import Settings
from pipeline.tracking.run_record import RUN_TAG, STAGE_TAG, find_artifact, open_record
from pipeline.workspace.pushing import push_results
from pipeline.workspace.reproduce import reproduce
from pipeline.workspace.workspace import RunRequest, Workspace
from tests.workspace.conftest import project as project
from tests.workspace.conftest import template as template
from tests.workspace.two_stages import UPPER, checkout, commit, record_other_data

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHANCE = f"{UPPER}import uuid\npathlib.Path('artifacts/upper.txt').write_text(uuid.uuid4().hex)\n"
"""A stage that gives another result each time, as a training on a GPU does."""

Host = Callable[[str], Workspace]


@pytest.fixture
def host(
    project: Path, settings: Settings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> Host:
    """Let a host that knows the results of an earlier run do the next tasks of the run `a`."""
    (project / "upper.py").write_text(CHANCE)
    commit(project)
    earlier = checkout(project, "earlier")
    reproduce(earlier, "twice")
    push_results(settings, earlier, "twice")
    experiment = client.create_experiment(settings.experiment, settings.artifact_location)
    run = client.create_run(experiment, tags={RUN_TAG: "a"})

    def at_work(name: str) -> Workspace:
        made = checkout(project, name)
        shutil.copyfile(earlier.folder / "dvc.lock", made.folder / "dvc.lock")
        workspace = Workspace(made.folder, made.revision, made.python, run.info.run_id)
        monkeypatch.setattr(task, "open_workspace", lambda *_: workspace)
        return workspace

    return at_work


def run_gate(monkeypatch: pytest.MonkeyPatch, settings: Settings, request: RunRequest) -> None:
    verdict = SimpleNamespace(needs_approval=False)
    monkeypatch.setattr(task, "run_gate", lambda *_: verdict)
    report = task.GateReport(stage="gate", status="passed")
    monkeypatch.setattr(task.GateReport, "of", lambda *_: report)
    task.run_task(settings, request, "gate")


def text(workspace: Workspace) -> str:
    return (workspace.folder / "artifacts/upper.txt").read_text()


def entry(folder: Path) -> Any:
    return read_yaml(folder / "dvc.lock")["stages"]["upper"]


def recorded(settings: Settings, client: MlflowClient, folder: Path) -> Path:
    """A folder with the dvc.lock of the run record."""
    run_id = open_record(settings, client, "a").run_id
    found = find_artifact(client, run_id, "dvc.lock", folder)
    assert found is not None
    return found.parent


@pytest.mark.slow
def test_a_forced_run_goes_on_with_what_another_host_made_in_it(
    host: Host, settings: Settings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RunRequest("a", force=True)
    first = host("first")
    task.run_task(settings, request, "upper")
    second = host("second")
    reproduce(second, "twice", force=True)  # its workspace holds the result of the earlier run
    assert text(second) != text(first)

    task.run_task(settings, request, "twice")

    assert text(second) == text(first)
    third = host("third")
    run_gate(monkeypatch, settings, request)
    assert entry(third.folder) == entry(second.folder) == entry(first.folder)
    lock = recorded(settings, client, third.folder.parent)
    assert entry(lock) == entry(first.folder)


@pytest.mark.slow
def test_a_gate_on_another_host_judges_what_came_from_the_cache_elsewhere(
    host: Host,
    project: Path,
    settings: Settings,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record_other_data(project)
    first = host("first")
    for name in ("upper", "twice"):
        reproduce(first, name)
    push_results(settings, first, "twice")
    other = host("other")

    run_gate(monkeypatch, settings, RunRequest("a"))

    assert entry(recorded(settings, client, other.folder.parent)) == entry(first.folder)


def test_a_stage_to_be_done_is_not_taken_from_an_earlier_try_on_another_host(
    project: Path, settings: Settings, client: MlflowClient
) -> None:
    experiment = client.create_experiment(settings.experiment, settings.artifact_location)
    tags = {RUN_TAG: "a", f"{STAGE_TAG}upper": "ran", f"{STAGE_TAG}twice": "ran"}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    content = {"stages": {"upper": {"cmd": "other"}, "twice": {"cmd": "other"}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(content))
    open_record(settings, client, "a").log_artifact(project / "dvc.lock", "")
    own = {"stages": {"upper": {"cmd": "own"}, "twice": {"cmd": "own"}}}
    (project / "dvc.lock").write_text(yaml.safe_dump(own))
    workspace = Workspace(project, "abc", Path(sys.executable), run_id)

    take_recorded(settings, "a", workspace, before="twice")

    stages = read_yaml(project / "dvc.lock")["stages"]
    assert stages == {"upper": {"cmd": "other"}, "twice": {"cmd": "own"}}
    take_recorded(settings, "a", workspace)
    assert read_yaml(project / "dvc.lock")["stages"] == content["stages"]
