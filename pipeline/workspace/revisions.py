"""Revisions of the project, found and checked out by git."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import LungsegError, RefusedError, ServiceError, WorkspaceError
from pipeline.git_command import run_git, without_login
from pipeline.library_errors import distrusts

GIT_AWAY = (
    "Could not resolve host",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Failed to connect",
    "No route to host",
    "The requested URL returned error: 5",
    "unable to connect to",
)
"""What git says of a server that does not answer, over HTTP, SSH and its own protocol."""
UPSTREAM = "upstream"
"""Of a workspace's clone: the branches of what the deployed checkout was cloned from."""
DATED = re.compile(r"(.+)@\{(\d{4}-\d\d-\d\d)(?:[T ]([\d:.]+))?(Z|[+-]\d\d:?\d\d)?\}")
"""A revision as it was at a date, `NAME@{DATE}`: its name, day, time and zone."""


def checkout_revision(repo: str, revision: str, folder: Path) -> str:
    """Clone `repo` to `folder` and check the revision out; return its commit.

    What a local checkout does not know is looked for where it was cloned from: others may have
    pushed since. Raises WorkspaceError when it is nowhere.
    """
    _git(["clone", "--quiet", "--no-checkout", "--", repo, str(folder)], Path())
    commit = _find_commit(folder, revision)
    upstream = None if commit else _upstream(repo)
    if upstream:
        branches = f"+refs/heads/*:refs/remotes/{UPSTREAM}/*"
        _git(["fetch", "--quiet", "--tags", "--", upstream, branches], folder)
        commit = _find_commit(folder, revision)
    if not commit:
        where = f"{repo} or {upstream}" if upstream else repo
        raise WorkspaceError(
            f"revision {revision!r}: not in {without_login(where)}; name a commit, branch or tag "
            "of it"
        )
    _git(["checkout", "--quiet", "--detach", commit], folder)
    return commit


def _find_commit(folder: Path, revision: str) -> str:
    """The commit of that name in a clone; empty when there is none."""
    for name in (revision, f"origin/{revision}", f"{UPSTREAM}/{revision}"):
        commit = _commit_of(name, folder)
        if commit:
            return commit
    return ""


def fetch_remotes(repo: str, folder: Path) -> None:
    """Fetch all branches and tags of every remote of a local `repo` to its clone in `folder`.

    Raises ServiceError for a server that does not answer, WorkspaceError for a remote that cannot
    be read.
    """
    for name in _git(["remote"], Path(repo)).split() if Path(repo).is_dir() else ():
        own = f"refs/remotes/{UPSTREAM}/{name}"
        references = (f"+refs/heads/*:{own}/heads/*", f"+refs/tags/*:{own}/tags/*")
        # Without --update-shallow git leaves out, and ends well, what has a cut-off history.
        options = ("--quiet", "--no-tags", "--update-shallow")
        _git(["fetch", *options, "--", _upstream(repo, name) or name, *references], folder)


def _upstream(repo: str, remote: str = "origin") -> str | None:
    """Where a remote of a local checkout is, by default what it was cloned from.

    None for a URL, and where there is no such.
    """
    folder = Path(repo)
    url = _git(["remote", "get-url", remote], folder, check=False) if folder.is_dir() else ""
    local = url and (folder / url).exists()
    return str((folder / url).resolve()) if local else url or None


def _commit_of(name: str, folder: Path) -> str:
    """The commit that a revision names; empty when there is none.

    With a date it is the newest one before that, without a time before the day, without a zone in
    UTC: git would take what the clock and the zone of this host say. Git itself would look for it
    in the reflog, and a fresh clone has none.
    """
    dated = DATED.fullmatch(name)
    if dated:
        _, day, time, zone = dated.groups(default="")
        before = f"--before={day}T{time or '00:00:00'}{zone or 'Z'}"
        newest = ["rev-list", "-1", "--first-parent", before, "--end-of-options"]
        return _git([*newest, dated[1], "--"], folder, check=False)
    return _git(["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], folder, check=False)


def _git(arguments: Sequence[str], folder: Path, *, check: bool = True) -> str:
    done = run_git(arguments, folder)
    if check and done.returncode:
        raise _git_problem(arguments[0], done.stderr.strip())
    return done.stdout.strip()


def _git_problem(command: str, said: str) -> LungsegError:
    """What git's error means: a server that is away is worth a retry, all else is not."""
    if distrusts(said):
        return RefusedError(
            f"git {command}: {said}; name the authority that signed the server's certificate by "
            "GIT_SSL_CAINFO"
        )
    if any(saying in said for saying in GIT_AWAY):
        return ServiceError(f"git {command}: the server does not answer: {said}")
    return WorkspaceError(f"git {command}: {said}")


def deployed_file(repo: str, checkout: Path, name: str) -> tuple[str, str]:
    """The commit that the deployed project is at, and the text of its file `name` there.

    The deployed project is `repo`, a folder or a git URL, of which `checkout` then fetches that
    commit. Raises WorkspaceError.
    """
    folder, revision = Path(repo), "HEAD"
    if not folder.is_dir():
        _git(["fetch", "--quiet", "--depth=1", "--", repo, "HEAD"], checkout)
        folder, revision = checkout, "FETCH_HEAD"
    commit = _git(["rev-parse", revision], folder)
    return commit, _git(["show", f"{commit}:./{name}"], folder)


def refuse_uncommitted(repo: str) -> None:
    """Raise WorkspaceError when a run of HEAD would not see changes that lie in the folder."""
    if not Path(repo).is_dir():
        return
    changed = _git(["status", "--porcelain", "--untracked-files=no"], Path(repo))
    if changed:
        files = ", ".join(line.split(maxsplit=1)[1] for line in changed.splitlines())
        raise WorkspaceError(
            f"{files}: changed and not committed, so a run of HEAD would not see it; commit it, or "
            "name what to run with --revision",
        )
