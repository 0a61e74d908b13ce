"""One DVC command at a time in the workspace of a run, whatever DVC believes of who is at work."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


def lock_file(folder: Path) -> Path:
    """The file beside a workspace that whoever works in it has locked."""
    return folder.with_name(f"{folder.name}.lock")


@contextmanager
def hold_workspace(folder: Path) -> Iterator[int]:
    """Hold the lock of a workspace, waiting for it; yields its file descriptor.

    The kernel lets go of it when the last process that holds the descriptor ends, however it ends.
    A child that must not go on unnoticed when this process is killed is given the descriptor, too.
    """
    path = lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process at work in %s", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def hold_if_free(folder: Path) -> Iterator[bool]:
    """Hold the lock of a workspace unless somebody is at work in it; yields whether it is held."""
    descriptor = os.open(lock_file(folder), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
