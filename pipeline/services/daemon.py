"""One process in the background: started in a session of its own, known again, ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import ServiceError
from pipeline.files import read_json, write_json

MARK = "LUNGSEG_SERVICES_OF"
"""Variable that every service hands down to all it starts: how `end` finds each of them."""

TELLING = ("error", "exception", "cannot", "failed", "denied", "no such", "not found")


@dataclass(frozen=True)
class Daemon:
    """A background process of the services of `home`."""

    name: str
    home: Path
    command: tuple[str, ...]

    @property
    def log(self) -> Path:
        """Where its output goes; the log of the start before has `.1` appended."""
        return self.home / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Its process id and start, by which it is told from a later process of the same id."""
        return self.home / "services" / f"{self.name}.json"

    def process(self) -> psutil.Process | None:
        """The process if it runs; None if it never did, ended, or its id is another's now.

        None, too, when it serves the home that this one was copied from.
        """
        try:
            known = read_json(self.record)
            if not _same_home(known, self.home):
                return None
            process = psutil.Process(known["pid"])
            same = abs(process.create_time() - known["created"]) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def same_command(self) -> bool:
        """Whether the running process was started with this command: port, folders and all."""
        return bool(read_json(self.record)["command"] == list(self.command))

    def start(self, environment: Mapping[str, str]) -> psutil.Process:
        """Start it, to outlive this process. Raises ServiceError if its program is missing."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        with self.log.open("wb") as log:
            try:
                child = subprocess.Popen(
                    self.command,
                    cwd=self.home,
                    env={**environment, MARK: str(self.home)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServiceError(
                    f"{self.command[0]}: {error.strerror}; install the project's dependencies"
                ) from None
        child.returncode = 0  # nobody here waits for it, and Popen shall not complain of that
        process = psutil.Process(child.pid)
        known = {"pid": child.pid, "created": process.create_time(), "command": self.command}
        write_json(self.record, {**known, "home": str(self.home)})
        return process

    def telling_line(self) -> str:
        """The last line of the log that speaks of an error, else its last line."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if any(word in line.lower() for word in TELLING)]
        return (errors or lines or ["it wrote nothing"])[-1][:300]


def _same_home(known: Mapping[str, Any], home: Path) -> bool:
    """Whether a record is of `home`, by this path or by one that it was moved from."""
    before = Path(known.get("home", home))
    return before == home or not before.exists() or before.samefile(home)


def _marks(home: Path) -> set[str]:
    """What `home` was called when its services were started; it may have been moved since."""
    marks = {str(home)}
    for record in (home / "services").glob("*.json"):
        with suppress(OSError, ValueError):
            known = read_json(record)
            if _same_home(known, home):
                marks.add(known.get("home", str(home)))
    return marks


def descendants(home: Path) -> list[psutil.Process]:
    """Every process that a service of `home` started, however it was handed on."""
    found, marks = [], _marks(home)
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) in marks and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return found


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Ask the processes to end; kill those that still run after `patience` seconds."""
    remaining = list(processes)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in remaining:
            try:
                process.send_signal(sign)
            except psutil.NoSuchProcess:
                continue
        remaining = wait(remaining, patience)


def wait(processes: Iterable[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those of the processes that still run after `patience` seconds."""
    remaining = list(processes)
    deadline = time.monotonic() + patience
    while remaining and time.monotonic() < deadline:
        time.sleep(0.05)
        remaining = [process for process in remaining if alive(process)]
    return remaining


def alive(process: psutil.Process) -> bool:
    """Whether the process runs; one that ended and was not collected yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
