"""git as a child process, which does nothing in a repository of another user; its addresses."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.settings import child_environment

FOREIGN = re.compile(r"detected dubious ownership in repository at '(.+?)(?:/\.)?(?:/\.git)?'")


LOGIN = re.compile(r"//[^/\s]*@")
"""What an address may hold that is not for a log: a user and a token."""


def without_login(text: str) -> str:
    """The text with its addresses as they may be shown: without a user and a password."""
    return LOGIN.sub("//", text)


def run_git(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What `git` answered in `folder`, whatever its exit code; it speaks English.

    Its errors name no login, its output may. Raises WorkspaceError when the repository is another
    user's, in which git does nothing.
    """
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=child_environment(LANGUAGE="en"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and (found := FOREIGN.search(done.stderr)):
        trust = " && ".join(
            shlex.join(["git", "config", "--global", "--add", "safe.directory", folder])
            for folder in (found[1], f"{found[1]}/.git")  # the second is for its clones
        )
        raise WorkspaceError(
            f"{found[1]}: belongs to another user, expected this one, for git works in no other's; "
            f"`chown -R` it, or trust it: `{trust}`"
        )
    done.stderr = without_login(done.stderr)
    return done
