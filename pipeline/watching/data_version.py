"""A new version of the dataset in a git repository, as an event for which Airflow starts a run."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import yaml
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from pipeline.git_command import without_login

DATA = "data.dvc"
SEEN = "seen"
"""Key of what was last seen, in Airflow's store of the asset's state."""
PATIENCE = 60.0
"""Seconds that a command of git may take."""


class DataVersionTrigger(BaseEventTrigger):  # type: ignore[misc]  # Airflow is read without its types
    """Look at a branch every `seconds`; an event is another md5 in its data.dvc than before.

    `repo` is a git URL and `branch` one of it, by default its own. The payload of the event is the
    `md5` of the dataset's version and the `commit` that was looked at. What was seen outlives this
    process, so the first look at a repository tells of nothing, and one after a restart only of
    what is new. An event that was not kept before a crash comes again: a run too many finds
    everything cached, a missed one would find nothing.
    """

    def __init__(self, repo: str, seconds: float, branch: str = "") -> None:
        super().__init__()
        self.repo, self.seconds, self.branch = repo, seconds, branch
        self._seen: dict[str, str] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is, and its arguments."""
        arguments = {"repo": self.repo, "seconds": self.seconds, "branch": self.branch}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[Any]:
        """Yield an event for each new version; a look that fails is a line in the log."""
        while True:
            try:
                async for event in self.look():
                    yield event
            except Exception as error:  # git, the network, Airflow's store: it may work next time
                reason = without_login(" ".join(str(error).split()))
                self.log.warning(
                    "%s: not looked at: %s", DATA, reason[:300] or type(error).__name__
                )
            await asyncio.sleep(self.seconds)

    async def look(self) -> AsyncIterator[Any]:
        """Look once: yield the event, if there is one, then keep what was seen.

        Raises OSError when git finds no such branch, or no dataset in it.
        """
        store = self.asset_state_store
        before = self._seen or await store.aget(SEEN) or {}
        same = before.get("repo") == self.repo
        if same and before.get("commit") == await newest_commit(self.repo, self.branch):
            self._seen = before
            return
        commit, md5 = await data_version(self.repo, self.branch)
        self._seen = {"repo": self.repo, "commit": commit, "md5": md5}
        if same and before["md5"] != md5:
            yield TriggerEvent({"commit": commit, "md5": md5})
        await store.aset(SEEN, self._seen)


async def newest_commit(repo: str, branch: str) -> str:
    """The commit that the branch is at, without a download. Raises OSError."""
    name = f"refs/heads/{branch}" if branch else "HEAD"
    listed = await git("ls-remote", "--", repo, name)
    if not listed:
        raise FileNotFoundError(f"no {name} in {repo}")
    return listed.split()[0]


async def data_version(repo: str, branch: str) -> tuple[str, str]:
    """The commit that the branch is at, and the md5 in its data.dvc. Raises OSError."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--branch", branch] if branch else []
        little = ["--bare", "--depth=1", "--filter=blob:none", "--no-tags"]
        await git("clone", "--quiet", *little, *chosen, "--", repo, folder)
        commit = await git("-C", folder, "rev-parse", "HEAD")
        content = yaml.safe_load(await git("-C", folder, "show", f"HEAD:{DATA}"))
    try:
        return commit, str(content["outs"][0]["md5"])
    except (TypeError, LookupError):
        raise OSError(f"{DATA} of {commit} names no md5") from None


async def git(*arguments: str) -> str:
    """The output of a command of git, which can ask nobody for a password. Raises OSError."""
    # In a session of its own it has no terminal.
    child = await asyncio.create_subprocess_exec(
        *("git", *arguments), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    try:
        output, errors = await asyncio.wait_for(child.communicate(), PATIENCE)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # with what it started: ssh, a helper
        await child.communicate()
        raise
    if child.returncode:
        raise OSError(f"git {arguments[0]}: {errors.decode(errors='replace').strip()}")
    return output.decode().strip()
