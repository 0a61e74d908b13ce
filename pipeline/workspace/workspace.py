"""The checkout that one run works in: its own revision, and a DVC cache that all runs share."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configobj import ConfigObj

from pipeline.errors import LungsegError, RefusedError, ServiceError, WorkspaceError
from pipeline.files import atomic_path, read_json, write_json
from pipeline.git_command import run_git, without_login
from pipeline.library_errors import distrusts
from pipeline.params import override
from pipeline.remote_store import PATH_SETTINGS, absolute_path, outer_paths
from pipeline.settings import Settings, child_environment
from pipeline.workspace.environments import find_interpreter
from pipeline.workspace.lock import hold_workspace

NOTE = Path(".git", "lungseg.json")
CONVENTIONS = Path("pipeline", "conventions.py")
"""In every revision since version 0.3, with the tables that today's gate reads."""
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
DEPLOYMENT = "deployment"
"""What the DVC remote that LUNGSEG_REMOTE names is called."""
UPSTREAM = "upstream"
"""Of a workspace's clone: the branches of what the deployed checkout was cloned from."""
PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,150}(\.\d{1,9}){0,3}")
HASHED = re.compile(r"-[0-9a-f]{16}$")
"""How the name of a folder ends that is not the id of its run."""
DATED = re.compile(r"(.+)@\{(\d{4}-\d\d-\d\d(?:[T ][\d:.]+)?(?:Z|[+-]\d\d:?\d\d)?)\}")
"""A revision as it was at a date, `NAME@{DATE}`."""


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do."""

    run_id: str
    revision: str = "HEAD"
    overrides: tuple[str, ...] = ()
    """`section.key=value` changes of params.yaml."""
    force: bool = False
    """Run every stage again, whatever the cache holds."""
    parent: str | None = None
    """The MLflow run of the search that this run is a trial of."""
    title: str = ""
    """What MLflow calls the run; if empty, its overrides, its commit and when it began."""
    allow_lowered: str = ""
    """Who answers for bounds of the gate that this run lowers; empty: nobody."""
    user: str = ""
    """Who asked for it; this account if empty."""
    source: str = "lungseg retrain"
    """What started it: a verb of the command, or the file of a DAG."""


@dataclass(frozen=True)
class Workspace:
    """A checkout at `folder`, made by `open_workspace`."""

    folder: Path
    revision: str
    """The commit that is checked out."""
    python: Path
    """The interpreter of the environment that serves this revision."""
    mlflow_run_id: str | None = None
    """The record of the run; None until it is opened."""

    def save(self) -> None:
        """Keep these facts in the checkout, where they do not dirty it."""
        content = {
            "revision": self.revision,
            "python": str(self.python),
            "mlflow_run_id": self.mlflow_run_id,
        }
        write_json(self.folder / NOTE, content)

    @property
    def is_of_a_run(self) -> bool:
        """Whether it was made for a run; else it is a project that a person works in."""
        return (self.folder / NOTE).exists()

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a child: this revision's interpreter is the `python`."""
        base = child_environment(**extra)
        return {**base, "PATH": os.pathsep.join([str(self.python.parent), base["PATH"]])}


def workspace_folder(settings: Settings, run_id: str) -> Path:
    """Where the run's checkout is: a folder of its own, directly below `runs`, whatever the id.

    A plain id is its name. Of any other only what a path may hold stays, with a hash of the id.
    """
    if PLAIN_ID.fullmatch(run_id) and not HASHED.search(run_id):
        return settings.home / "runs" / run_id
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", run_id)[:100].strip("_-")
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
    return settings.home / "runs" / f"{kept or 'run'}-{digest}"


def find_workspace(settings: Settings, run_id: str) -> Workspace | None:
    """Return the run's workspace if this host has it.

    It names the cache and the environment by their whole paths, and follows these when the project
    or the home was moved. Raises WorkspaceError when its environment cannot be made again, and for
    a revision that the gate could not judge.
    """
    folder = workspace_folder(settings, run_id)
    if not (folder / NOTE).exists():
        return None
    content = read_json(folder / NOTE)
    _refuse_former(folder, content["revision"])
    python = Path(content["python"])
    found = Workspace(folder, content["revision"], python, content["mlflow_run_id"])
    if shared_cache(Settings(repo=str(folder))) != shared_cache(settings):
        join_cache(settings, folder)
    if not python.exists():
        found = replace(found, python=find_interpreter(settings, folder))
        found.save()
    return found


def make_workspace(settings: Settings, request: RunRequest, lock_file: Path | None) -> Workspace:
    """Check the revision out, apply the overrides and join the shared DVC cache.

    `lock_file` is a dvc.lock to start from when the revision has none. Raises WorkspaceError or
    ParamsError, and then leaves nothing.
    """
    folder = workspace_folder(settings, request.run_id)
    with hold_workspace(folder):
        found = find_workspace(settings, request.run_id)
        if found:
            return found
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            revision, python = _fill(settings, request, partial, lock_file)
            Workspace(partial, revision, python).save()
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Workspace(folder, revision, python)


def _fill(
    settings: Settings,
    request: RunRequest,
    folder: Path,
    lock_file: Path | None,
) -> tuple[str, Path]:
    revision = checkout_revision(settings.repo, request.revision, folder)
    if not (folder / "dvc.yaml").exists():
        raise WorkspaceError(f"revision {request.revision}: has no dvc.yaml, expected the project")
    _refuse_former(folder, request.revision)
    if request.overrides:
        override(folder / "params.yaml", request.overrides)
    join_cache(settings, folder)
    if lock_file and not (folder / "dvc.lock").exists():
        shutil.copyfile(lock_file, folder / "dvc.lock")
    return revision, find_interpreter(settings, folder)


def _refuse_former(folder: Path, revision: str) -> None:
    if not (folder / CONVENTIONS).exists():
        raise WorkspaceError(
            f"revision {revision}: has no {CONVENTIONS}, as in version 0.3 and earlier, expected "
            "later code, whose results the gate can judge; to train on its data, commit its "
            "data.dvc with later code, and run that"
        )


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


def _upstream(repo: str) -> str | None:
    """What a local checkout was cloned from; None for a URL, and where there is no such."""
    folder = Path(repo)
    url = _git(["remote", "get-url", "origin"], folder, check=False) if folder.is_dir() else ""
    local = url and (folder / url).exists()
    return str((folder / url).resolve()) if local else url or None


def _commit_of(name: str, folder: Path) -> str:
    """The commit that a revision names; empty when there is none.

    With a date it is the newest one before that. Git itself would look for it in the reflog, and a
    fresh clone has none.
    """
    dated = DATED.fullmatch(name)
    if dated:
        newest = ["rev-list", "-1", "--first-parent", f"--before={dated[2]}", "--end-of-options"]
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


def deployed_file(settings: Settings, workspace: Workspace, name: str) -> tuple[str, str]:
    """The commit that the deployed project is at, and the text of its file `name` there.

    The deployed project is `settings.repo`, a folder or a git URL. Raises WorkspaceError.
    """
    repo, revision = settings.repo, "HEAD"
    folder = Path(repo)
    if not folder.is_dir():
        _git(["fetch", "--quiet", "--depth=1", "--", repo, "HEAD"], workspace.folder)
        folder, revision = workspace.folder, "FETCH_HEAD"
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


def join_cache(settings: Settings, folder: Path) -> None:
    """Write .dvc/config.local: the deployment's own settings, and the cache that all runs share.

    Paths of remotes that lead out of the project lead to where they do from `settings.repo`. Raises
    WorkspaceError when that is no folder, so that the default remote is nowhere. The file may hold
    secrets of a remote, so nobody else may read it, from its first byte.
    """
    source = Path(settings.repo, ".dvc")
    config = ConfigObj(str(source / "config.local")) if source.is_dir() else ConfigObj()
    for section in config.values():
        for setting in set(PATH_SETTINGS) & set(section):
            section[setting] = absolute_path(source, section[setting])
    if settings.remote:
        config.setdefault("core", {})["remote"] = DEPLOYMENT
        config[f'remote "{DEPLOYMENT}"'] = _remote(settings.remote, settings.remote_endpoint)
    _place_remotes(config, source, folder)
    # Links spare the copy; stages replace files whole, so they never write through one.
    config["cache"] = {
        "dir": str(shared_cache(settings)),
        "type": "reflink,hardlink,symlink,copy",
    }
    with atomic_path(folder / ".dvc" / "config.local") as partial:
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            config.write(file)


def _place_remotes(config: ConfigObj, source: Path, folder: Path) -> None:
    """Add the paths out of the project that the checkout in `folder` has committed."""
    committed = ConfigObj(str(folder / ".dvc" / "config"))
    default = {**committed.get("core", {}), **config.get("core", {})}.get("remote")
    for name, setting, path in outer_paths(folder):
        if setting in config.get(name, {}):
            continue
        if source.is_dir():
            config.setdefault(name, {})[setting] = absolute_path(source, path)
        elif name == f'remote "{default}"':
            raise WorkspaceError(
                f".dvc/config: found {path} as the {setting} of {name}, expected an absolute path "
                "or a URL, because LUNGSEG_REPO is no folder with .dvc; set LUNGSEG_REMOTE, or "
                "commit one of these"
            )


def _remote(url: str, endpoint: str | None) -> dict[str, str]:
    """DVC's settings of the remote; credentials are left to the libraries that look for them."""
    if "://" not in url:
        return {"url": str(Path(url).absolute())}
    if not url.startswith("s3://"):
        return {"url": url}
    quick = {"connect_timeout": "10", "read_timeout": "60"}  # by default a minute each, five times
    return {"url": url, **quick, **({"endpointurl": endpoint} if endpoint else {})}


def shared_cache(settings: Settings) -> Path:
    """Return the DVC cache of the deployed project, or one below the home when that is a URL."""
    project = Path(settings.repo)
    if not (project / ".dvc").is_dir():
        return settings.home / "cache"
    for name in ("config.local", "config"):
        configured = ConfigObj(str(project / ".dvc" / name)).get("cache", {}).get("dir")
        if configured:
            return Path(project, ".dvc", configured).resolve()
    return project.resolve() / ".dvc" / "cache"
