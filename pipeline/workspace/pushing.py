"""What a run's results leave a host by: the store that all hosts share."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

from pipeline.errors import LungsegError, ServiceError
from pipeline.remote_store import RemoteStore, open_store
from pipeline.settings import Settings
from pipeline.stage_graph import stage_names
from pipeline.workspace.dvc_command import dvc
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.reproduce import locked_stages
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

MARKS = "pushed"
"""Folder of the home with an empty file for each result that was pushed from here."""

MARK_AGE_S = 24 * 3600
"""Seconds for which a mark is believed; somebody may have cleaned the store meanwhile."""

RUN_CACHE = "runs"
"""DVC's folder of run-cache entries, in a cache and in a remote alike."""


def push_results(settings: Settings, workspace: Workspace, name: str) -> None:
    """Push the results of the stage and of those before it, unless this host has done so.

    Whether the stage ran now or came from the cache makes no difference: an earlier push may have
    failed. Does nothing without a store. Raises ServiceError when the store does not answer,
    WorkspaceError when it refuses, each with the store's own reason; what is not pushed stays in
    this host's cache for the next try.
    """
    store = open_store(workspace.folder)
    if store is None:
        return
    names = stage_names(workspace.folder)
    locked = locked_stages(workspace.folder)
    chain = [one for one in names[: names.index(name) + 1] if one in locked]
    marks = {one: _mark(settings, store, locked[one]) for one in chain}
    waiting = [one for one, mark in marks.items() if not _is_fresh(mark)]
    if not waiting:
        return
    started = time.monotonic()
    try:
        _push(store, workspace, waiting)
    except LungsegError as error:
        raise type(error)(
            f"{name}: its results are not pushed but stay in this host's cache: {error}"
        ) from None
    log.info("pushed %s in %.1f s", ", ".join(waiting), time.monotonic() - started)
    for one in waiting:
        marks[one].parent.mkdir(parents=True, exist_ok=True)
        marks[one].touch()


def _mark(settings: Settings, store: RemoteStore, entry: object) -> Path:
    text = json.dumps([store.url, entry], sort_keys=True)
    return settings.home / MARKS / hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_fresh(mark: Path) -> bool:
    return mark.exists() and time.time() - mark.stat().st_mtime < MARK_AGE_S


def _push(store: RemoteStore, workspace: Workspace, names: list[str]) -> None:
    code, errors = dvc(workspace, ["push", "--quiet", *names])
    if code:
        store.probe()  # which says what is wrong
        raise ServiceError(f"{store.url}: dvc push failed: {errors}; it is tried again")
    _push_run_cache(store, shared_cache(Settings(repo=str(workspace.folder))))


def _push_run_cache(store: RemoteStore, cache: Path) -> None:
    """Push the entries that the store lacks, after the objects that they name.

    `dvc push --run-cache` uploads every entry of the host each time, and only logs a failure.
    """
    entries = [path for path in (cache / RUN_CACHE).rglob("*") if path.is_file()]
    there = {file.path for file in store.list(RUN_CACHE)}
    for entry in entries:
        path = entry.relative_to(cache).as_posix()
        if path not in there:
            store.put(entry, path)
