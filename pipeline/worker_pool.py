"""Processes that share a stage's work, one for each core."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import cv2

from pipeline.errors import CrashedError

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: how much processor time in how much time, or "max" for no limit."""


def usable_cores() -> int:
    """The cores that this process may use, not those that the machine has."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, CPU_QUOTA.read_text().split())
    except (OSError, ValueError):
        return allowed
    return min(allowed, math.ceil(quota / period))


def open_workers(count: int, preload: Iterable[str] = ()) -> ProcessPoolExecutor:
    """So many processes, which import the modules `preload` once for all of them.

    Each has a core to itself, so OpenCV is kept to one thread. They end with the process that
    opened them, also when it is killed.
    """
    # A fork of this process would copy the locks of its threads in whatever state they are.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return ProcessPoolExecutor(count, context, _begin)


@contextmanager
def translated_kill(work: str, count: int, remedy: str = "try again with more") -> Iterator[None]:
    """Say in the project's words that one of `count` workers was killed: CrashedError.

    `work` is the stage or command that they work for.
    """
    try:
        yield
    except BrokenProcessPool:
        raise CrashedError(
            f"{work}: one of {count} worker processes was killed, perhaps for want of memory; "
            f"{remedy}",
        ) from None


def _begin() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this they would wait for work of a killed process for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
