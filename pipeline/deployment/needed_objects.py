"""The objects of DVC's cache and remote that something needs: by their MD5s.

Needed is what a commit of any branch or tag names, the checkouts of this host, a release, and each
run that began lately. A folder's listing names its files: without one it would not be known which
of them are needed, so nothing is removed then.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from configobj import ConfigObj

from pipeline.deployment.home_leftovers import kept_workspaces
from pipeline.deployment.links import Site
from pipeline.errors import LungsegError, ReleaseError, WorkspaceError
from pipeline.release.release_log import read_log
from pipeline.release.signing import open_verifier
from pipeline.remote_store import RemoteStore, open_store
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import find_artifact
from pipeline.workspace.objects import object_path
from pipeline.workspace.workspace import shared_cache

POINTERS = ("dvc.lock", "code/data.dvc")
"""Artifacts of a run record that name objects."""
SEARCHES = "-search"
"""End of the name of the experiment of searches."""


def needed_objects(site: Site, since: float) -> set[str]:
    """MD5 of every object that is needed, folders' listings (`….dir`) and their files.

    Runs that began after `since` (seconds since 1970) count as lately. Raises WorkspaceError when a
    run is at work or a listing cannot be had, ReleaseError when the log of releases is not whole or
    the record of a release lacks what names its objects.
    """
    named: dict[str, str] = {}
    texts = (*_of_commits(site), *_of_checkouts(site, since), *_of_records(site, since))
    for where, text in texts:
        named |= dict.fromkeys(_named(text, where), where)
    store = open_store(site.project)
    files = {
        md5
        for listing, where in named.items()
        if listing.endswith(".dir")
        for md5 in _listed(site, store, listing, where)
    }
    return files | named.keys()


def md5s_in(content: Any) -> Iterator[str]:
    """Every MD5 that the content of a dvc.lock or a .dvc file gives."""
    if isinstance(content, Mapping):
        if isinstance(content.get("md5"), str):
            yield content["md5"]
        for value in content.values():
            yield from md5s_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from md5s_in(value)


def _named(text: str, where: str) -> set[str]:
    try:
        return set(md5s_in(yaml.safe_load(text)))
    except yaml.YAMLError:
        raise WorkspaceError(
            f"{where}: not YAML, so what it needs is not known; repair it"
        ) from None


def _of_commits(site: Site) -> Iterator[tuple[str, str]]:
    """Every version of each file of DVC in the history of every branch, tag and other reference."""
    own = Path(site.settings.repo)
    for folder in (own, site.project) if own.is_dir() else (site.project,):
        listing = _git(folder, "rev-list", "--all", "--objects", "--", "*.dvc", "*dvc.lock")
        for line in listing.splitlines():
            blob, _, path = line.partition(" ")
            name = path.rpartition("/")[2]
            if name.endswith((".dvc", "dvc.lock")) and name != ".dvc":  # DVC's own folder
                yield f"{path} ({blob[:10]})", _git(folder, "cat-file", "blob", blob)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise WorkspaceError(f"git {arguments[0]} in {folder}: {done.stderr.strip()}")
    return done.stdout


def _of_checkouts(site: Site, since: float) -> Iterator[tuple[str, str]]:
    """What the project's folder and the workspaces touched since have checked out or made."""
    own = Path(site.settings.repo)
    folders = [*kept_workspaces(site.settings, since), *([own] if own.is_dir() else [])]
    for folder in folders:
        for name in ("dvc.lock", "data.dvc"):
            if (folder / name).is_file():
                yield str(folder / name), (folder / name).read_text(encoding="utf-8")


def _of_records(site: Site, since: float) -> Iterator[tuple[str, str]]:
    """What the records of releases and of late runs name."""
    from mlflow.entities import ViewType

    settings = site.settings
    with connect(settings) as client, tempfile.TemporaryDirectory() as temporary:
        log = read_log(client, settings.model_name, open_verifier(settings))
        if log.problems:
            raise ReleaseError(
                f"the log of releases is not whole ({log.problems[0]}), so what they need is not "
                "known; `lungseg releases verify`"
            )
        released = {entry.run_id for entry in log.entries}
        released |= {str(one.run_id) for one in log.versions.values() if one.run_id}
        late: set[str] = set()
        for name in (settings.experiment, f"{settings.experiment}{SEARCHES}"):
            experiment = client.get_experiment_by_name(name)
            token: str | None = "" if experiment else None
            while token is not None:
                page = client.search_runs(
                    [experiment.experiment_id],
                    f"attributes.start_time >= {int(since * 1000)}",
                    ViewType.ALL,
                    page_token=token or None,
                )
                late |= {run.info.run_id for run in page}
                token = page.token or None
            _refuse_work(client, experiment)
        for run_id in sorted(released | late):
            folder = Path(temporary, run_id)
            folder.mkdir()
            texts = [
                file.read_text(encoding="utf-8")
                for path in POINTERS
                if (file := find_artifact(client, run_id, path, folder))
            ]
            if run_id in released and not texts:
                raise ReleaseError(
                    f"run {run_id}, which was released, has no dvc.lock in its record, so what it "
                    "needs is not known; restore MLflow's artifacts"
                )
            yield from ((f"the record of run {run_id}", text) for text in texts)


def _refuse_work(client: Any, experiment: Any) -> None:
    """A run at work may take an old object from the cache at any moment."""
    running = (
        client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        if experiment
        else []
    )
    if running:
        raise WorkspaceError(
            f"run {running[0].info.run_name} is at work and may need any object; wait for it"
        )


def _listed(site: Site, store: RemoteStore | None, listing: str, where: str) -> set[str]:
    """The MD5s of the files of a folder."""
    caches = [shared_cache(site.settings), *_folder_remotes(site.project)]
    for cache in caches:
        path = object_path(cache, listing)
        if path.is_file():
            return _entries(path)
    if store:
        with tempfile.TemporaryDirectory() as temporary:
            target = Path(temporary, "listing")
            try:
                store.get(object_path(Path(), listing).as_posix(), target)
                return _entries(target)
            except LungsegError as error:
                reason = str(error)
    else:
        reason = "there is no store"
    raise WorkspaceError(
        f"{listing}: the list of files that {where} names is not in {caches[0]}, and {reason}; "
        "`dvc fetch` it, so that it is known what to keep"
    )


def _entries(path: Path) -> set[str]:
    return {str(entry["md5"]) for entry in json.loads(path.read_text(encoding="utf-8"))}


def _folder_remotes(project: Path) -> list[Path]:
    """The remotes that are folders of the project itself, like samples/."""
    config = ConfigObj(str(project / ".dvc" / "config"))
    urls = [section["url"] for name, section in config.items() if name.startswith("'remote")]
    return [(project / ".dvc" / url).resolve() for url in urls if "://" not in url]
