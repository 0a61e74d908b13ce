"""Checkpoints of a training: where a killed one resumes.

    <LUNGSEG_HOME>/checkpoints/<key>.lock        held by the process that trains
    <LUNGSEG_HOME>/checkpoints/<key>/holder.txt  says which one that is
    <LUNGSEG_HOME>/checkpoints/<key>/epoch-0003/          after the third epoch
    <LUNGSEG_HOME>/checkpoints/<key>/epoch-0003-0000120/  after 120 batches more
        arrays.npz                               network, optimizer, and the best epoch's weights
        history.json                             the epochs so far
        position.json                            how far it is in the epoch after these
        SHA256SUMS                               of the three, without which nothing is read

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
from dataclasses import asdict, dataclass, field
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
from pipeline.model.heartbeat import told_meanwhile
from pipeline.model.training_history import EpochRow
from pipeline.model.travelling import Courier
from pipeline.remote_store import RemoteStore

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints of a training on disk: the last, and one should that be damaged."""

INTERVAL_S = 240.0
"""Seconds from one checkpoint to the next within an epoch.

What a kill loses besides is a batch and the writing: five minutes in all at most.
"""

MAX_AGE_S = 14 * 24 * 3600
"""Seconds after which a training that nobody resumed is forgotten."""


@dataclass(frozen=True)
class Position:
    """How far a training is within an epoch: all batches are trained, then all are validated."""

    trained: int = 0
    """Batches."""
    validated: int = 0
    """Batches."""
    measured: EpochRow = field(default_factory=dict)
    """The epoch's means over the training radiographs, once all are trained."""
    sums: list[float] = field(default_factory=list)
    """Of which Keras takes the means of those batches that are trained, or else validated."""

    @property
    def batches(self) -> int:
        """All that are done."""
        return self.trained + self.validated


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs, or between two batches of one."""

    history: list[EpochRow]
    """A row for every finished epoch."""
    state: list[NDArray[Any]]
    """Every variable of the network and its optimizer, in their order."""
    best: list[NDArray[Any]]
    """The network's weights after its best epoch."""
    position: Position = Position()
    """In the epoch after those of the history."""

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1."""
        return len(self.history)

    @property
    def name(self) -> str:
        """Its folder's; those of a training are in the order of their names."""
        batches = self.position.batches
        return f"epoch-{self.epoch:04d}" + (f"-{batches:07d}" if batches else "")


def checkpoint_key(files: Mapping[str, Path], facts: Mapping[str, Any]) -> str:
    """Hash of `facts` (as JSON) and of the names and all bytes of `files`: 32 hex digits."""
    sums = {name: sha256_file(path) for name, path in files.items()}
    text = json.dumps({"files": sums, "facts": facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def hold_checkpoints(
    home: Path, key: str, store: RemoteStore | None = None, every_s: float = INTERVAL_S
) -> Iterator[Checkpoints]:
    """Yield the checkpoints of `key` below `home`, of which nobody else has hold meanwhile.

    Waits while another process of this host trains the same. A process that dies lets go.
    Checkpoints of other keys that are older than MAX_AGE_S are removed. With a `store`, those that
    another host left there are fetched, and those that are saved are sent there. One within an
    epoch is due every `every_s` seconds.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _lock(home / key):
        courier = Courier(store, key, KEPT) if store else None
        checkpoints = Checkpoints(home / key, courier, every_s)
        checkpoints.sign()
        _remove_old(home)
        try:
            with told_meanwhile("looking for checkpoints of other hosts"):
                checkpoints.fetch()
            yield checkpoints
        finally:
            if courier:
                with told_meanwhile("sending the last checkpoint"):
                    courier.end()


def clear_checkpoints(home: Path, key: str, store: RemoteStore | None) -> None:
    """Remove those of a finished training, but not while another process trains the same."""
    with suppress(Timeout), FileLock(home / f"{key}.lock", blocking=False):
        Checkpoints(home / key, Courier(store, key, KEPT) if store else None).clear()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting = f"waiting for {_holder(folder)}, which trains the same ({folder})"
        log.info("%s", waiting)
        with told_meanwhile(waiting):
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
        with suppress(FileNotFoundError, Timeout):  # another process removes it, or has hold of it
            touched = lock.stat().st_mtime
            if folder.exists():
                touched = max(touched, folder.stat().st_mtime)
            if time.time() - touched > MAX_AGE_S:
                with FileLock(lock, blocking=False):
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.unlink()


class Checkpoints:
    """The last checkpoints of one training."""

    def __init__(
        self, folder: Path, courier: Courier | None = None, every_s: float = INTERVAL_S
    ) -> None:
        self.folder, self._courier, self._every_s = folder, courier, every_s
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one, or the beginning, is so long ago that another one is worth it."""
        return time.monotonic() - self._saved >= self._every_s

    def sign(self) -> None:
        """Write down who trains, for those who wait."""
        with atomic_path(self.folder / "holder.txt") as partial:
            holder = f"process {os.getpid()} on {socket.gethostname()} in {Path.cwd()}"
            partial.write_text(holder, encoding="utf-8")

    def save(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint and remove all but the last; raises StageError when it cannot."""
        target = self.folder / checkpoint.name
        self._saved = time.monotonic()  # what is trained while it is written would be lost, too
        try:
            with atomic_folder(target) as folder:
                _write(folder, checkpoint)
            if self._courier:
                self._courier.send(target)
            for former in self._folders()[:-KEPT]:
                if not (self._courier and self._courier.sends(former)):
                    shutil.rmtree(former)
            for rest in self.folder.glob(".epoch-*.partial"):  # of a process killed while it wrote
                shutil.rmtree(rest)
        except OSError as error:
            raise StageError(
                f"{target}: the checkpoint cannot be written ({error.strerror or error}); make "
                "room, or set LUNGSEG_HOME to where there is some; the same command then resumes "
                "after the checkpoint before",
            ) from None

    def fetch(self) -> None:
        """Get those that another host took further than this one."""
        if self._courier:
            here = [folder.name for folder in self._folders()]
            fetched = self._courier.fetch(self.folder, newer_than=max(here, default=""))
            if fetched:
                log.info("fetched %s of another host", fetched.name)

    def latest(self) -> Checkpoint | None:
        """The last undamaged checkpoint; those that are damaged are removed with a warning."""
        for folder in reversed(self._folders()):
            if sums_hold(folder):
                return _read(folder)
            log.warning("%s: damaged, so the training resumes after the one before", folder)
            shutil.rmtree(folder)
        return None

    def clear(self) -> None:
        """Remove all of them: the training is done."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        if self._courier:
            self._courier.clear()

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    arrays = {
        f"{name}_{i}": array
        for name in ("state", "best")
        for i, array in enumerate(getattr(checkpoint, name))
    }
    np.savez(folder / "arrays.npz", **arrays)
    write_json(folder / "history.json", checkpoint.history)
    write_json(folder / "position.json", asdict(checkpoint.position))
    write_sums(folder)


def _read(folder: Path) -> Checkpoint:
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        state, best = (
            [stored[name] for name in stored.files if name.startswith(kind)]
            for kind in ("state_", "best_")
        )
    position = Position(**read_json(folder / "position.json"))
    return Checkpoint(read_json(folder / "history.json"), state, best, position)
