"""What runs left on this host and nobody needs: workspaces, environments, checkpoints, parts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.deployment.leftovers import (
    REMOVED,
    FreedBytes,
    Leftover,
    last_touched,
    remove_folder,
)
from pipeline.files import read_json
from pipeline.settings import Settings
from pipeline.workspace.lock import hold_if_free
from pipeline.workspace.stage_parts import ROOT as PARTS
from pipeline.workspace.workspace import NOTE


def home_leftovers(settings: Settings, before: float, freed: FreedBytes) -> Iterator[Leftover]:
    """Everything in the home that was touched last `before` then, seconds since 1970.

    An environment stays while a workspace that stays was made with it.
    """
    home = settings.home
    for folder in ("runs", "envs", "checkpoints", PARTS):
        for rest in sorted((home / folder).glob(f".*{REMOVED}")):
            yield _leftover("rests of a clean", rest, freed, partial(_remove, rest))
    kept = kept_workspaces(settings, before)
    for run in _folders(home / "runs"):
        if run not in kept:
            yield _leftover("workspaces", run, freed, partial(_remove_workspace, run, before))
    needed = {_environment(run) for run in kept}
    for env in _folders(home / "envs"):
        used = (env / "complete").stat().st_mtime if (env / "complete").exists() else 0.0
        if env not in needed and max(used, env.stat().st_mtime) < before:
            yield _leftover("environments", env, freed, partial(_remove_locked, env))
    for key in _folders(home / "checkpoints"):
        if last_touched(key) < before:
            yield _leftover("checkpoints", key, freed, partial(_remove_locked, key))
    for run in _folders(home / PARTS):
        if last_touched(run) < before:
            yield _leftover("parts", run, freed, partial(_remove, run))


def kept_workspaces(settings: Settings, since: float) -> list[Path]:
    """The workspaces of this host that were touched since."""
    return [run for run in _folders(settings.home / "runs") if _touched(run) >= since]


def _leftover(kind: str, path: Path, freed: FreedBytes, remove: partial[bool]) -> Leftover:
    return Leftover(kind, path.name, freed.of(path), remove)


def _folders(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_dir() and not path.name.startswith(".")]


def _touched(run: Path) -> float:
    note = run / NOTE
    return max(last_touched(run), note.stat().st_mtime if note.exists() else 0.0)


def _environment(run: Path) -> Path | None:
    """The folder of the environment that the workspace was made with."""
    note = run / NOTE
    return Path(read_json(note)["python"]).parents[1] if note.exists() else None


def _remove(path: Path) -> bool:
    remove_folder(path)
    return True


def _remove_workspace(run: Path, before: float) -> bool:
    """Remove a workspace that nobody is at work in, and that no task has touched meanwhile."""
    with hold_if_free(run) as held:
        if not held or not run.is_dir() or _touched(run) >= before:
            return False
        remove_folder(run)
    return True


def _remove_locked(folder: Path) -> bool:
    """Remove an environment or a checkpoint that nobody is making or training with."""
    try:
        with FileLock(f"{folder}.lock", blocking=False):
            remove_folder(folder)
    except Timeout:
        return False
    return True
