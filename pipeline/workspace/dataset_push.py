"""The dataset on its way to the store of a deployment, whose address is no part of the project."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from configobj import ConfigObj

from pipeline.errors import LungsegError, ParamsError, WorkspaceError
from pipeline.git_command import without_login
from pipeline.params_file import read_yaml
from pipeline.settings import Settings
from pipeline.workspace.dvc_command import dvc, store_problem
from pipeline.workspace.dvc_config import join_cache, shared_cache
from pipeline.workspace.objects import find_damage
from pipeline.workspace.revisions import checkout_revision
from pipeline.workspace.workspace import Workspace


def push_dataset(settings: Settings, revision: str, source: str) -> str:
    """Copy the dataset of a revision to the store that LUNGSEG_REMOTE names; returns the commit.

    It is taken from DVC's cache here, else from the DVC remote `source`, by default the one that
    the project names. Raises ParamsError without a store, WorkspaceError or ServiceError when the
    data cannot be had or the store does not take them.
    """
    if settings.remote is None:
        raise ParamsError(
            "LUNGSEG_REMOTE is not set, expected the URL of the deployment's DVC remote; where the "
            "project names that itself, `dvc push data` does it"
        )
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="push-") as temporary:
        folder = Path(temporary, "project")
        commit = checkout_revision(settings.repo, revision, folder)
        if not (folder / "data.dvc").exists():
            raise WorkspaceError(f"revision {revision}: has no data.dvc; import a dataset first")
        config = ConfigObj(str(folder / ".dvc" / "config"))
        source = source or config.get("core", {}).get("remote", "")
        join_cache(settings, folder)
        workspace = Workspace(folder, commit, Path(sys.executable))
        _, errors = dvc(workspace, ["fetch", "--quiet", *_remote(source), "data"])
        # DVC fetches nothing from a remote that is not there, pushes that, and succeeds.
        recorded = {out["path"]: out["md5"] for out in read_yaml(folder / "data.dvc")["outs"]}
        if damage := find_damage(shared_cache(Settings(repo=str(folder))), recorded):
            raise WorkspaceError(
                f"{'; '.join(filter(None, [damage, errors]))}; the remote was {source!r}: name the "
                "one that has the data by --from"
            )
        code, errors = dvc(workspace, ["push", "--quiet", "data"])
        if code:
            raise _problem(workspace, settings.remote, errors)
    return commit


def _remote(source: str) -> list[str]:
    return ["--remote", source] if source else []


def _problem(workspace: Workspace, url: str, errors: str) -> LungsegError:
    problem = store_problem(workspace, "data: cannot be pushed")
    return problem or WorkspaceError(f"data: cannot be pushed to {without_login(url)}: {errors}")
