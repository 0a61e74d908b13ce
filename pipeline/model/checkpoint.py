"""Checkpoints of a training: where a killed one resumes.

    <LUNGSEG_HOME>/checkpoints/<key>.lock        held by the process that trains
    <LUNGSEG_HOME>/checkpoints/<key>/holder.txt  says which one that is
    <LUNGSEG_HOME>/checkpoints/<key>/epoch-0003/
        arrays.npz                               network, optimizer, and the best epoch's weights
        history.json                             the epochs so far
        SHA256SUMS                               of the two, without which nothing is read

With a store that hosts share, the folders of the epochs are there, too (`travelling`).

The key stands for everything that shapes the result, so that what lies below it is of this very
training. They are no outputs of the stage: DVC does not cache a stage that keeps its outputs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.files import (
    atomic_folder,
    atomic_path,
    read_json,
    sha256_file,
    sums_hold,
    write_json,
    write_sums,
)
from pipeline.model.training_history import EpochRow
from pipeline.model.travelling import Courier
from pipeline.remote_store import RemoteStore

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints of a training on disk: the last, and one should that be damaged."""

MAX_AGE_S = 14 * 24 * 3600
"""Seconds after which a training that nobody resumed is forgotten."""

FILES = ("arrays.npz", "history.json")


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs."""

    history: list[EpochRow]
    """A row for every finished epoch."""
    state: list[NDArray[Any]]
    """Every variable of the network and its optimizer, in their order."""
    best: list[NDArray[Any]]
    """The network's weights after its best epoch."""

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1."""
        return len(self.history)


def checkpoint_key(files: Mapping[str, Path], facts: Mapping[str, Any]) -> str:
    """Hash of `facts` (as JSON) and of the names and all bytes of `files`: 32 hex digits."""
    sums = {name: sha256_file(path) for name, path in files.items()}
    text = json.dumps({"files": sums, "facts": facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def hold_checkpoints(
    home: Path, key: str, store: RemoteStore | None = None
) -> Iterator[Checkpoints]:
    """Yield the checkpoints of `key` below `home`, of which nobody else has hold meanwhile.

    Waits while another process of this host trains the same. A process that dies lets go.
    Checkpoints of other keys that are older than MAX_AGE_S are removed. With a `store`, those that
    another host left there are fetched, and those that are saved are sent there.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _lock(home / key):
        courier = Courier(store, key, KEPT) if store else None
        checkpoints = Checkpoints(home / key, courier)
        checkpoints.sign()
        _remove_old(home)
        try:
            checkpoints.fetch()
            yield checkpoints
        finally:
            if courier:
                courier.end()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for %s, which trains the same (%s)", _holder(folder), folder)
        lock.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        lock.release()


def _holder(folder: Path) -> str:
    with suppress(FileNotFoundError):  # it has just started, or just ended
        return (folder / "holder.txt").read_text(encoding="utf-8")
    return "another process"


def _remove_old(home: Path) -> None:
    for lock in home.glob("*.lock"):
        folder = lock.with_suffix("")
        touched = max(path.stat().st_mtime for path in (lock, folder) if path.exists())
        if time.time() - touched > MAX_AGE_S:
            with suppress(Timeout), FileLock(lock, blocking=False):
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink()


class Checkpoints:
    """The last checkpoints of one training."""

    def __init__(self, folder: Path, courier: Courier | None = None) -> None:
        self.folder, self._courier = folder, courier

    def sign(self) -> None:
        """Write down who trains, for those who wait."""
        with atomic_path(self.folder / "holder.txt") as partial:
            holder = f"process {os.getpid()} on {socket.gethostname()} in {Path.cwd()}"
            partial.write_text(holder, encoding="utf-8")

    def save(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint and remove all but the last; raises StageError when it cannot."""
        target = self.folder / f"epoch-{checkpoint.epoch:04d}"
        try:
            with atomic_folder(target) as folder:
                _write(folder, checkpoint)
            if self._courier:
                self._courier.send(target)
            for former in self._epochs()[:-KEPT]:
                shutil.rmtree(former)
        except OSError as error:
            raise StageError(
                f"{target}: the checkpoint cannot be written ({error.strerror or error}); make "
                "room, or set LUNGSEG_HOME to where there is some; the same command then resumes "
                "after the checkpoint before",
            ) from None

    def fetch(self) -> None:
        """Get those that another host took further than this one."""
        if self._courier:
            here = [epoch.name for epoch in self._epochs()]
            fetched = self._courier.fetch(self.folder, newer_than=max(here, default=""))
            if fetched:
                log.info("fetched %s of another host", fetched[-1].name)

    def latest(self) -> Checkpoint | None:
        """The last undamaged checkpoint; those that are damaged are removed with a warning."""
        for folder in reversed(self._epochs()):
            if sums_hold(folder):
                return _read(folder)
            log.warning("%s: damaged, so the training resumes after the one before", folder)
            shutil.rmtree(folder)
        return None

    def clear(self) -> None:
        """Remove all of them: the training is done."""
        shutil.rmtree(self.folder)
        if self._courier:
            self._courier.clear()

    def _epochs(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    arrays = {
        f"{name}_{i}": array
        for name in ("state", "best")
        for i, array in enumerate(getattr(checkpoint, name))
    }
    np.savez(folder / "arrays.npz", **arrays)
    write_json(folder / "history.json", checkpoint.history)
    write_sums(folder)


def _read(folder: Path) -> Checkpoint:
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        state, best = (
            [stored[name] for name in stored.files if name.startswith(kind)]
            for kind in ("state_", "best_")
        )
    return Checkpoint(read_json(folder / "history.json"), state, best)
