"""Checkpoints in the store that hosts share, so that a training resumes on another host.

    checkpoints/<key>/epoch-0003/…    the files of a checkpoint folder, SHA256SUMS last

They are sent by a thread beside the training, the newest only: a slow store costs no time of the
training, only what another host would have to train again. A store that does not answer
costs a warning and never the training.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path, PurePosixPath

from pipeline.errors import LungsegError, ServiceError, WorkspaceError
from pipeline.files import SUMS, sums_hold
from pipeline.remote_store import RemoteStore

log = logging.getLogger(__name__)

ROOT = "checkpoints"
"""Folder of the store that holds those of all trainings."""

PATIENCE_S = 120
"""Seconds that a training which ends without a result waits for its last checkpoint to be sent."""


class Courier:
    """Sends the checkpoints of one training to the store, and fetches those of another host."""

    def __init__(self, store: RemoteStore, key: str, kept: int) -> None:
        """Of the checkpoints `kept` stay in the store."""
        self._store, self._root, self._kept = store, f"{ROOT}/{key}", kept
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._sending: Path | None = None
        self._ended = False
        self._warned = False
        threading.Thread(target=self._run, daemon=True).start()

    def fetch(self, folder: Path, newer_than: str) -> Path | None:
        """Download the last whole checkpoint whose name comes after `newer_than`, if there is one.

        A host that still trains may remove one meanwhile; then it is the next best.
        """
        problem: LungsegError | None = None
        try:
            for path, names in reversed(self._store.folders(self._root).items()):
                target = folder / PurePosixPath(path).name
                if SUMS not in names or target.name <= newer_than:
                    continue
                try:
                    self._store.get_folder(path, names, target)
                except WorkspaceError as error:
                    problem = problem or error
                    continue
                if sums_hold(target):
                    return target
        except ServiceError as error:
            problem = error
        if problem:
            self._warn(f"what another host trained cannot be looked for: {problem}")
        return None

    def send(self, folder: Path) -> None:
        """Have a checkpoint sent, instead of one that still waits."""
        with self._changed:
            self._waiting = folder
            self._changed.notify_all()

    def sends(self, folder: Path) -> bool:
        """Whether this checkpoint is being sent; one that is not, and is old, may be removed."""
        with self._changed:
            return self._sending == folder

    def clear(self) -> None:
        """Send no more, and remove all that is in the store: the training is done."""
        with self._changed:
            self._waiting = None
        self.end()
        try:
            self._remove(kept=0)
        except LungsegError as error:
            self._warn(f"the checkpoints of a finished training stay in the store: {error}")

    def end(self) -> None:
        """Wait until what was to be sent is sent; for PATIENCE_S at most."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._waiting or self._sending), PATIENCE_S)

    def _run(self) -> None:
        while folder := self._next():
            try:
                self._send(folder)
            except LungsegError as error:
                if folder.exists():  # else the training is done
                    self._warn(f"{folder.name} is on this host alone: {error}")
            else:
                self._warned = False
            with self._changed:
                self._sending = None
                self._changed.notify_all()

    def _next(self) -> Path | None:
        """The folder to send, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            self._sending, self._waiting = self._waiting, None
            return self._sending

    def _send(self, folder: Path) -> None:
        self._store.put_folder(folder, f"{self._root}/{folder.name}")
        self._remove(self._kept)

    def _remove(self, kept: int) -> None:
        """Remove all checkpoints but the last from the store."""
        folders = list(self._store.folders(self._root).items())
        for path, names in folders[: len(folders) - kept]:
            self._store.remove_all(f"{path}/{name}" for name in names)

    def _warn(self, text: str) -> None:
        """Say it, once while the store is away."""
        if not self._warned:
            log.warning("%s", text)
        self._warned = True
