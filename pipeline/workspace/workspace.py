"""The checkout that one run works in: its own revision, and a DVC cache that all runs share."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.files import read_json, write_json
from pipeline.params_file import override
from pipeline.settings import Settings, child_environment
from pipeline.workspace.dvc_config import join_cache, shared_cache
from pipeline.workspace.environments import find_interpreter
from pipeline.workspace.lock import hold_workspace
from pipeline.workspace.revisions import checkout_revision

NOTE = Path(".git", "lungseg.json")
CONVENTIONS = Path("pipeline", "conventions.py")
"""In every revision since version 0.3, with the tables that today's gate reads."""
PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,150}(\.\d{1,9}){0,3}")
HASHED = re.compile(r"-[0-9a-f]{16}$")
"""How the name of a folder ends that is not the id of its run."""


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do."""

    run_id: str
    revision: str = "HEAD"
    overrides: tuple[str, ...] = ()
    """`section.key=value` changes of params.yaml."""
    force: bool = False
    """Run every stage again, whatever the cache holds."""
    parent: str | None = None
    """The MLflow run of the search that this run is a trial of."""
    title: str = ""
    """What MLflow calls the run; if empty, its overrides, its commit and when it began."""
    allow_lowered: str = ""
    """Who answers for bounds of the gate that this run lowers; empty: nobody."""
    user: str = ""
    """Who asked for it; this account if empty."""
    source: str = "lungseg retrain"
    """What started it: a verb of the command, or the file of a DAG."""


@dataclass(frozen=True)
class Workspace:
    """A checkout at `folder`, made by `open_workspace`."""

    folder: Path
    revision: str
    """The commit that is checked out."""
    python: Path
    """The interpreter of the environment that serves this revision."""
    mlflow_run_id: str | None = None
    """The record of the run; None until it is opened."""

    def save(self) -> None:
        """Keep these facts in the checkout, where they do not dirty it."""
        content = {
            "revision": self.revision,
            "python": str(self.python),
            "mlflow_run_id": self.mlflow_run_id,
        }
        write_json(self.folder / NOTE, content)

    @property
    def is_of_a_run(self) -> bool:
        """Whether it was made for a run; else it is a project that a person works in."""
        return (self.folder / NOTE).exists()

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a child: this revision's interpreter is the `python`."""
        base = child_environment(**extra)
        return {**base, "PATH": os.pathsep.join([str(self.python.parent), base["PATH"]])}


def workspace_folder(settings: Settings, run_id: str) -> Path:
    """Where the run's checkout is: a folder of its own, directly below `runs`, whatever the id.

    A plain id is its name. Of any other only what a path may hold stays, with a hash of the id.
    """
    if PLAIN_ID.fullmatch(run_id) and not HASHED.search(run_id):
        return settings.home / "runs" / run_id
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", run_id)[:100].strip("_-")
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
    return settings.home / "runs" / f"{kept or 'run'}-{digest}"


def find_workspace(settings: Settings, run_id: str) -> Workspace | None:
    """Return the run's workspace if this host has it.

    It names the cache and the environment by their whole paths, and follows these when the project
    or the home was moved. Raises WorkspaceError when its environment cannot be made again, and for
    a revision that the gate could not judge.
    """
    folder = workspace_folder(settings, run_id)
    if not (folder / NOTE).exists():
        return None
    content = read_json(folder / NOTE)
    _refuse_former(folder, content["revision"])
    python = Path(content["python"])
    found = Workspace(folder, content["revision"], python, content["mlflow_run_id"])
    if shared_cache(Settings(repo=str(folder))) != shared_cache(settings):
        join_cache(settings, folder)
    if not python.exists():
        found = replace(found, python=find_interpreter(settings, folder))
        found.save()
    return found


def make_workspace(settings: Settings, request: RunRequest, lock_file: Path | None) -> Workspace:
    """Check the revision out, apply the overrides and join the shared DVC cache.

    `lock_file` is a dvc.lock to start from when the revision has none. Raises WorkspaceError or
    ParamsError, and then leaves nothing.
    """
    folder = workspace_folder(settings, request.run_id)
    with hold_workspace(folder):
        found = find_workspace(settings, request.run_id)
        if found:
            return found
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            revision, python = _fill(settings, request, partial, lock_file)
            Workspace(partial, revision, python).save()
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Workspace(folder, revision, python)


def _fill(
    settings: Settings,
    request: RunRequest,
    folder: Path,
    lock_file: Path | None,
) -> tuple[str, Path]:
    revision = checkout_revision(settings.repo, request.revision, folder)
    if not (folder / "dvc.yaml").exists():
        raise WorkspaceError(f"revision {request.revision}: has no dvc.yaml, expected the project")
    _refuse_former(folder, request.revision)
    if request.overrides:
        override(folder / "params.yaml", request.overrides)
    join_cache(settings, folder)
    if lock_file and not (folder / "dvc.lock").exists():
        shutil.copyfile(lock_file, folder / "dvc.lock")
    return revision, find_interpreter(settings, folder)


def _refuse_former(folder: Path, revision: str) -> None:
    if not (folder / CONVENTIONS).exists():
        raise WorkspaceError(
            f"revision {revision}: has no {CONVENTIONS}, as in version 0.3 and earlier, expected "
            "later code, whose results the gate can judge; to train on its data, commit its "
            "data.dvc with later code, and run that"
        )
