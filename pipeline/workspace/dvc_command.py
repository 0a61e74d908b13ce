"""DVC as a child process in a workspace, and what is wrong when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import LungsegError
from pipeline.git_command import without_login
from pipeline.remote_store import open_store
from pipeline.workspace.lock import hold_workspace
from pipeline.workspace.workspace import Workspace

DVC_LOCKS = Path(".dvc", "tmp", "rwlock")
"""Where DVC writes down who reads and writes what in a workspace."""


def dvc(workspace: Workspace, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a DVC command in the workspace; return its exit code and its error lines."""
    _, code, errors = follow_dvc(workspace, arguments, None, lambda: None, {})
    return code, errors


def follow_dvc(
    workspace: Workspace,
    arguments: Sequence[str],
    marker: str | None,
    started: Callable[[], None],
    environment: dict[str, str],
) -> tuple[bool, int, str]:
    """Run `dvc`, passing its lines on; whether a line began with `marker`, exit code and errors.

    `started` is called at that line. No line and no error names a login.
    """
    seen, errors = False, []
    command = ["dvc", "--wait-for-lock", *arguments]
    with (
        _at_work(workspace) as descriptors,
        subprocess.Popen(
            command,
            cwd=workspace.folder,
            env=workspace.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=descriptors,
        ) as child,
    ):
        for line in map(without_login, child.stdout or ()):
            if line.startswith("ERROR:"):
                errors.append(line.removeprefix("ERROR:").strip())
                if "LUNGSEG_PART" in environment:  # to DVC, a stage that did a part has failed
                    continue
            sys.stderr.write(line)
            if marker and not seen and line.startswith(marker):
                seen = True
                started()
    return seen, child.returncode, "; ".join(errors)


@contextmanager
def _at_work(workspace: Workspace) -> Iterator[tuple[int, ...]]:
    """Hold the workspace of a run, and forget the locks that dead processes left in it.

    DVC knows who is at work by process ids alone; in containers these are few and soon repeat, so a
    lock of a killed process would last for ever. Yields what DVC has to inherit.
    """
    if not workspace.is_of_a_run:  # a person may be at work there, by DVC alone
        yield ()
        return
    with hold_workspace(workspace.folder) as descriptor:
        (workspace.folder / DVC_LOCKS).unlink(missing_ok=True)
        yield (descriptor,)


def store_problem(workspace: Workspace, what: str) -> LungsegError | None:
    """What keeps this host from the store, after DVC failed; None when nothing does.

    DVC itself says only how many files failed. ServiceError is worth a retry, WorkspaceError is
    not; `what` begins the message.
    """
    store = open_store(workspace.folder)
    try:
        if store:
            store.probe()
    except LungsegError as error:
        return type(error)(f"{what}: {error}")
    return None
