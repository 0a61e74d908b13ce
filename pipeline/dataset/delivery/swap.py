"""Swapping data/ for a new version that DVC knows, or leaving all as it was."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from pipeline.dataset.delivery.staging import make_writable
from pipeline.dataset.validation.populations import PREVIOUS, Profile
from pipeline.errors import DatasetError
from pipeline.git_command import run_git
from pipeline.settings import child_environment
from pipeline.workspace.objects import parse_pointer

logger = logging.getLogger(__name__)

STAGING = ".data.partial"
DELIVERY = ".delivery.partial"
FORMER = ".data.former.partial"
"""Holds the former data/ and VERSION_FILES while DVC takes in a new version."""
DONE = ".data.done.partial"
VERSION_FILES = ("data.dvc", PREVIOUS, ".gitignore")
"""What git keeps of a version."""


@contextmanager
def importing(project: Path) -> Iterator[None]:
    """Hold the only import of `project`; what an interrupted one left is cleared up first.

    A data/ that DVC took in since stays; else all is brought back as it was before.
    """
    if not (project / ".dvc").is_dir():
        raise DatasetError(f"{project}: not a DVC project; run from the project's root")
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    try:
        with FileLock(project / ".dvc/tmp/lungseg-import.lock", timeout=0):
            if _taken_in(project):
                logger.warning(
                    "%s: stays as it is, as data.dvc was made anew after the unfinished import",
                    project / "data",
                )
                (project / FORMER).rename(project / DONE)
            restore(project)
            try:
                yield
            finally:
                _clear(project)
    except Timeout:
        raise DatasetError(f"{project}: another import is running; wait for it") from None


def _clear(project: Path) -> None:
    for name in (STAGING, DELIVERY, DONE):
        make_writable(project / name)
        shutil.rmtree(project / name, ignore_errors=True)


def check_replaceable(project: Path, append: bool) -> None:
    """Refuse to go on from a data/ that DVC, or for a replacement git, does not know.

    `append`, also of what is said of its pairs, needs the known dataset in place; without it the
    known dataset is replaced and must stay retrievable.
    """
    data, pointer = project / "data", project / "data.dvc"
    if data.is_symlink():
        raise DatasetError(f"{data}: is a link, which DVC cannot take in; make it a folder")
    if not has_data(project):
        if append and pointer.exists():
            raise DatasetError(f"{data}: missing; get it with `dvc pull data` and run this again")
        return
    if not pointer.exists():
        raise DatasetError(
            f"{data}: not known to DVC; keep it with `dvc add data` and a commit, or remove it",
        )
    if status := _status(project):
        raise DatasetError(
            f"{data}: differs from data.dvc ({status}); complete it with "
            "`dvc pull data`, or keep it with `dvc add data` and a commit",
        )
    if not append and _uncommitted(project):
        raise DatasetError(
            f"{pointer}: not committed, so the dataset it names would be lost; "
            f"run `git add {' '.join(VERSION_FILES)} && git commit`",
        )


def has_data(project: Path) -> bool:
    """Whether data/ holds anything."""
    data = project / "data"
    return data.is_dir() and any(data.iterdir())


def _status(project: Path) -> str:
    report = json.loads(_run(project, "dvc", "status", "data.dvc", "--json"))
    if not report:
        return ""
    states = re.findall(r'"data": "([^"]+)"', json.dumps(report))
    return ", ".join(states) or "changed"


def _uncommitted(project: Path) -> bool:
    return bool(_run(project, "git", "status", "--porcelain", "--", "data.dvc").strip())


def swap_data(project: Path, previous: Profile) -> None:
    """Make what is staged the new data/ and `dvc add` it; on any failure all is as before.

    `previous` is of the version that the new one continues, empty for a first one.
    """
    expected = sum(1 for path in (project / STAGING).rglob("*") if path.is_file())
    os.sync()  # the stage is on the disk before data/ points to it
    try:
        _swap(project)
        previous.write(project / PREVIOUS)
        _run(project, "dvc", "add", "data")
        _check_pointer(project, expected)
        # From here on the new version stands, even if the process dies while it cleans up.
        (project / FORMER).rename(project / DONE)
    except BaseException:
        restore(project)
        raise


def _swap(project: Path) -> None:
    former, data = project / FORMER, project / "data"
    former.mkdir()
    for name in VERSION_FILES:
        if (project / name).exists():
            shutil.copy2(project / name, former / name)
    data.mkdir(exist_ok=True)
    make_writable(data)  # else it could not be moved, nor removed afterwards
    data.rename(former / "data")
    (project / STAGING).rename(data)


def _check_pointer(project: Path, expected: int) -> None:
    pointer = yaml.safe_load((project / "data.dvc").read_text(encoding="utf-8"))["outs"][0]
    if pointer["nfiles"] != expected:
        raise DatasetError(
            f"data.dvc: DVC took {pointer['nfiles']} of {expected} files; "
            "rename what .dvcignore matches",
        )


def _taken_in(project: Path) -> bool:
    """Whether data.dvc was made anew since a swap that was not finished, as a person may do."""
    former, pointer = project / FORMER, project / "data.dvc"
    if not (former / "data").is_dir() or not pointer.is_file():
        return False
    copy, now = former / "data.dvc", pointer.read_bytes()
    try:
        parse_pointer(now.decode(), str(pointer))
    except (DatasetError, UnicodeError):  # cut off: DVC was killed as it wrote
        return False
    return not copy.is_file() or copy.read_bytes() != now


def restore(project: Path) -> None:
    """Bring back the data/ and VERSION_FILES of before a swap that was not finished."""
    former, data = project / FORMER, project / "data"
    if (former / "data").is_dir():
        logger.warning("%s: brought back as it was before the unfinished import", data)
        # First, as a new data.dvc would be taken for a version that stays.
        for name in VERSION_FILES:
            (project / name).unlink(missing_ok=True)
            if (former / name).exists():
                shutil.copy2(former / name, project / name)
        shutil.rmtree(data, ignore_errors=True)
        (former / "data").rename(data)
        if not has_data(project):
            data.rmdir()
    shutil.rmtree(former, ignore_errors=True)
    _clear(project)


def _run_dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _run(project: Path, tool: str, *arguments: str) -> str:
    """The standard output of a child process; raises DatasetError with its last words."""
    done = run_git(arguments, project) if tool == "git" else _run_dvc(project, *arguments)
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        reason = " ".join(" ".join(words or done.stderr.splitlines()[-1:]).split())
        raise DatasetError(f"`{tool} {' '.join(arguments)}` failed, nothing was changed: {reason}")
    return done.stdout
