"""The checkout that one run works in: its own revision, and a DVC cache that all runs share."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configobj import ConfigObj
from filelock import FileLock

from pipeline.errors import WorkspaceError
from pipeline.files import atomic_path, read_json, sha256_file, write_json
from pipeline.params import override
from pipeline.settings import Settings, child_environment

log = logging.getLogger(__name__)

NOTE = Path(".git", "lungseg.json")
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

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a child: this revision's interpreter is the `python`."""
        base = child_environment(**extra)
        return {**base, "PATH": os.pathsep.join([str(self.python.parent), base["PATH"]])}


def workspace_folder(settings: Settings, run_id: str) -> Path:
    """Where the run's checkout is, with the run's id made safe for paths."""
    return settings.home / "runs" / re.sub(r"[^A-Za-z0-9._-]+", "_", run_id).lstrip(".")


def find_workspace(settings: Settings, run_id: str) -> Workspace | None:
    """Return the run's workspace if this host has it."""
    folder = workspace_folder(settings, run_id)
    if not (folder / NOTE).exists():
        return None
    content = read_json(folder / NOTE)
    python = Path(content["python"])
    return Workspace(folder, content["revision"], python, content["mlflow_run_id"])


def make_workspace(settings: Settings, request: RunRequest, lock_file: Path | None) -> Workspace:
    """Check the revision out, apply the overrides and join the shared DVC cache.

    `lock_file` is a dvc.lock to start from when the revision has none. Raises WorkspaceError or
    ParamsError, and then leaves nothing.
    """
    folder = workspace_folder(settings, request.run_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
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
    if request.overrides:
        override(folder / "params.yaml", request.overrides)
    join_cache(settings, folder)
    if lock_file and not (folder / "dvc.lock").exists():
        shutil.copyfile(lock_file, folder / "dvc.lock")
    return revision, _interpreter(settings, folder)


def checkout_revision(repo: str, revision: str, folder: Path) -> str:
    """Clone `repo` to `folder` and check the revision out; return its commit."""
    _git(["clone", "--quiet", "--no-checkout", "--", repo, str(folder)], Path())
    for name in (revision, f"origin/{revision}"):
        commit = _commit_of(name, folder)
        if commit:
            _git(["checkout", "--quiet", "--detach", commit], folder)
            return commit
    raise WorkspaceError(
        f"revision {revision!r}: not in {repo}; name a commit, branch or tag of it"
    )


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
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if check and done.returncode:
        raise WorkspaceError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


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

    It may hold secrets of a remote, so nobody else may read it, from its first byte.
    """
    source = Path(settings.repo, ".dvc")
    config = ConfigObj(str(source / "config.local")) if source.is_dir() else ConfigObj()
    for section in config.values():
        url = section.get("url", "")
        if url and "://" not in url:
            section["url"] = str((source / url).resolve())
    # Links spare the copy; stages replace files whole, so they never write through one.
    config["cache"] = {
        "dir": str(shared_cache(settings)),
        "type": "reflink,hardlink,symlink,copy",
    }
    with atomic_path(folder / ".dvc" / "config.local") as partial:
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            config.write(file)


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


def _interpreter(settings: Settings, folder: Path) -> Path:
    """Return this environment's Python, or that of one made for the revision's own uv.lock."""
    deployed = Path(__file__).parents[2] / "uv.lock"
    lock = folder / "uv.lock"
    if not lock.exists():
        raise WorkspaceError(f"{lock.name}: not in this revision, so its environment is not known")
    digest = sha256_file(lock)
    if deployed.exists() and digest == sha256_file(deployed):
        return Path(sys.executable)
    return make_environment(settings, folder, digest[:16])


def _extra_of_stages(folder: Path) -> list[str]:
    """The option that installs what the stages need; before 0.2 they needed none."""
    declared = folder / "pyproject.toml"
    if not declared.is_file():  # uv says so
        return []
    project = tomllib.loads(declared.read_text(encoding="utf-8"))["project"]
    return ["--extra", "train"] if "train" in project.get("optional-dependencies", {}) else []


def make_environment(settings: Settings, folder: Path, name: str) -> Path:
    """Install the locked environment of the checkout `folder` once; return its Python."""
    target = settings.home / "envs" / name
    python = target / "bin" / "python"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if python.exists() and (target / "complete").exists():
            return python
        log.info("installing the environment of this revision's uv.lock into %s", target)
        uv = shutil.which("uv") or str(Path(settings.repo, ".tools", "uv", "bin", "uv"))
        arguments = ["sync", "--frozen", "--no-install-project", "--no-default-groups", "--quiet"]
        arguments += _extra_of_stages(folder)
        environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(target)}
        try:
            subprocess.run([uv, *arguments], cwd=folder, env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise WorkspaceError(f"uv sync for {folder}: {error}") from None
        (target / "complete").touch()
    return python
