"""A whole run without services, and the record of one made by hand with `dvc repro`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import WorkspaceError
from pipeline.release.record import connect, create_record
from pipeline.run.reproduce import stage_names
from pipeline.run.task import open_workspace, run_task, task_names
from pipeline.run.workspace import RunRequest, Workspace
from pipeline.settings import Settings


def new_run_id(kind: str) -> str:
    """Return an id for a run that no scheduler named."""
    return f"{kind}__{datetime.now(UTC).strftime('%Y-%m-%dT%H-%M-%S.%f')}"


def run_locally(settings: Settings, request: RunRequest) -> Iterator[dict[str, Any]]:
    """Do every task of a run one after the other, yielding each outcome."""
    workspace = open_workspace(settings, request)
    for name in task_names(workspace.folder):
        yield run_task(settings, request, name)


def track(settings: Settings, project: Path) -> str:
    """Record the project's present results, made with `dvc repro`, as an MLflow run.

    Returns the run's address. Raises WorkspaceError when they are not up to date.
    """
    outdated = _output(["dvc", "status", "--quiet"], project)
    if outdated is None:
        raise WorkspaceError(f"{project}: results are not up to date; run `dvc repro` first")
    revision = _output(["git", "rev-parse", "HEAD"], project)
    if revision is None:
        raise WorkspaceError(f"{project}: not a git repository with a commit")
    workspace = Workspace(project, revision, Path(sys.executable))
    with connect(settings) as client:
        request = RunRequest(new_run_id("track"), revision="working tree")
        record = create_record(settings, client, request, workspace)
        for name in stage_names(project):
            record.log_stage(workspace, name, "ran")
        record.log_artifact(project / "dvc.lock", "")
        client.set_terminated(record.run_id, "FINISHED")
        return record.url


def _output(command: list[str], folder: Path) -> str | None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
