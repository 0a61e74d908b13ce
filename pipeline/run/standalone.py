"""A whole run without services, and the record of one made by hand with `dvc repro`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from pipeline.errors import WorkspaceError
from pipeline.evaluation.visual_report import REPORT_PAGE
from pipeline.git_command import run_git, without_login
from pipeline.release.release_tables import verdict_table
from pipeline.release.verdict import Check
from pipeline.run.recording import BY_HAND, record_stage, start_record
from pipeline.run.task import close_run, open_workspace, run_task, task_names
from pipeline.run.task_report import GateReport
from pipeline.settings import Settings, child_environment
from pipeline.stage_graph import stage_definitions, stage_names
from pipeline.tracking.client import connect
from pipeline.workspace.workspace import RunRequest, Workspace


def new_run_id(kind: str) -> str:
    """Return an id for a run that no scheduler named."""
    return f"{kind}__{datetime.now(UTC).strftime('%Y-%m-%dT%H-%M-%S.%f')}"


def retrain_standalone(settings: Settings, request: RunRequest) -> int:
    """Do every task of a run one after the other; returns the exit code of the promotion."""
    request = replace(request, run_id=new_run_id("local"))
    console = Console()
    workspace = open_workspace(settings, request)
    checks: tuple[Check, ...] = ()
    try:
        for name in task_names(workspace.folder):
            done = run_task(settings, request, name)
            console.print(f"{name}: {done.status} {done.seconds} s {done.reason}", markup=False)
            checks = done.checks if isinstance(done, GateReport) else checks
    finally:
        close_run(settings, request.run_id)
    console.print(verdict_table(checks))
    shown = without_login(settings.tracking_uri)
    console.print(f"MLflow store: {shown}", markup=False, soft_wrap=True)
    console.print(f"report: {workspace.folder / REPORT_PAGE}", markup=False, soft_wrap=True)
    return done.exit_code


def track(settings: Settings, project: Path) -> str:
    """Record the project's present results, made with `dvc repro`, as an MLflow run.

    Returns the run's address. Raises WorkspaceError when they are not up to date, or are not of
    the commit that they would be recorded as.
    """
    outdated = _output(["dvc", "status", "--quiet"], project)
    if outdated is None:
        raise WorkspaceError(f"{project}: results are not up to date; run `dvc repro` first")
    revision = _committed(project)
    workspace = Workspace(project, revision, Path(sys.executable))
    with connect(settings, create=True) as client:
        request = RunRequest(new_run_id("track"), "working tree", source=BY_HAND)
        try:
            record = start_record(settings, client, request, workspace)
            for name in stage_names(project):
                record_stage(record, workspace, name, "ran")
            record.log_artifact(project / "dvc.lock", "")
            client.set_terminated(record.run_id, "FINISHED")
        finally:
            close_run(settings, request.run_id)
        return record.url


def _committed(project: Path) -> str:
    """The commit that the results are of; what made them must be in it, dvc.lock is a result."""
    revision = run_git(["rev-parse", "HEAD"], project)
    listed = run_git(["status", "--porcelain", "--untracked-files=all"], project)
    if revision.returncode or listed.returncode:
        raise WorkspaceError(f"{project}: not a git repository with a commit")
    code = {path.parts[0] for one in stage_definitions(project).values() for path in one.code}
    changed = []
    for line in listed.stdout.splitlines():
        state, path = line[:2], line[3:].strip('"')
        if path != "dvc.lock" and (state != "??" or path.partition("/")[0] in code):
            changed.append(path)
    if changed:
        raise WorkspaceError(
            f"{', '.join(changed)}: changed and not committed, so the results are not those of a "
            "commit; commit, run `dvc repro` and track again",
        )
    return revision.stdout.strip()


def _output(command: list[str], folder: Path) -> str | None:
    done = subprocess.run(
        command, cwd=folder, env=child_environment(), capture_output=True, text=True
    )
    return done.stdout.rstrip() if done.returncode == 0 else None
