"""The objects of DVC's cache and remote that something needs: by their MD5s.

Needed is what a commit of any branch or tag names, here or in a git remote of the project, the
checkouts of this host, a release, and each run that began lately. A folder's listing names its
files: without one it would not be known which of them are needed, so nothing is removed then. Only
a commit may name a listing that is nowhere: its folder cannot be had from here, whatever stays.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.deployment.home_leftovers import kept_workspaces
from pipeline.deployment.links import Site
from pipeline.errors import ReleaseError, WorkspaceError
from pipeline.git_command import run_git, without_login
from pipeline.release.release_log import read_log
from pipeline.release.signing import open_verifier
from pipeline.remote_store import RemoteStore, open_store
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import find_artifact
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.objects import object_path
from pipeline.workspace.revisions import fetch_remotes

POINTERS = ("dvc.lock", "code/data.dvc")
"""Artifacts of a run record that name objects."""
SEARCHES = "-search"
"""End of the name of the experiment of searches."""


def needed_objects(site: Site, since: float) -> set[str]:
    """MD5 of every object that is needed, folders' listings (`….dir`) and their files.

    Runs that began after `since` (seconds since 1970) count as lately. Raises WorkspaceError when a
    run is at work, a listing cannot be had, or the project's history or that of a git remote of it
    cannot be had whole, ServiceError when a server does not answer, ReleaseError when the log of
    releases is not whole or the record of a release lacks what names its objects.
    """
    store = open_store(site.project)
    committed, used = _md5s(_of_commits(site)), _md5s(_of_checkouts(site, since))
    used |= _md5s(_of_records(site, since))
    files: set[str] = set()
    for listing, where in (committed | used).items():
        if listing.endswith(".dir"):
            found = _listed(site, store, listing)
            if found is None and listing in used:
                raise WorkspaceError(
                    f"{listing}: the list of files that {where} names is neither in the cache nor "
                    "in the store, so it is not known what to keep; `dvc fetch` it"
                )
            files |= found or set()
    return files | committed.keys() | used.keys()


def _md5s(texts: Iterator[tuple[str, str]]) -> dict[str, str]:
    """What these texts name, and where."""
    return {md5: where for where, text in texts for md5 in _named(text, where)}


def md5s_in(content: Any) -> Iterator[str]:
    """The MD5 of every object that the content of a dvc.lock or a .dvc file names.

    Code that a stage depends on is none: DVC writes down its MD5, and git alone keeps it.
    """
    if isinstance(content, Mapping):
        if isinstance(content.get("md5"), str):
            yield content["md5"]
        for name, value in content.items():
            yield from md5s_in(_without_code(value) if name == "deps" else value)
    elif isinstance(content, list):
        for value in content:
            yield from md5s_in(value)


def _without_code(dependencies: Any) -> Any:
    if not isinstance(dependencies, list):
        return dependencies
    return [one for one in dependencies if not _is_code(one)]


def _is_code(dependency: Any) -> bool:
    return isinstance(dependency, Mapping) and str(dependency.get("path")).startswith("pipeline/")


def _named(text: str, where: str) -> set[str]:
    try:
        return set(md5s_in(yaml.safe_load(text)))
    except yaml.YAMLError:
        raise WorkspaceError(
            f"{where}: not YAML, so what it needs is not known; repair it"
        ) from None


def _of_commits(site: Site) -> Iterator[tuple[str, str]]:
    """Every version of each file of DVC in the history of every branch, tag and other reference.

    Also of those that the project's remotes have: others may have pushed since.
    """
    own = Path(site.settings.repo)
    fetch_remotes(site.settings.repo, site.project)
    for folder in (own, site.project) if own.is_dir() else (site.project,):
        if _git(folder, "rev-parse", "--is-shallow-repository").strip() == "true":
            raise WorkspaceError(
                f"{without_login(site.settings.repo)}, or a git remote of it, has its newest "
                "commits only, so what the others need is not known; `git fetch --unshallow` there"
            )
        for blob, path in _versions(folder, "*.dvc", "*dvc.lock"):
            yield f"{path} ({blob[:10]})", _git(folder, "cat-file", "blob", blob)


def _versions(folder: Path, *patterns: str) -> Iterator[tuple[str, str]]:
    """Every version of the files of these names that any reference leads to: blob and path."""
    options = ("--all", "-m", "--raw", "--no-abbrev", "--no-renames", "--format=")
    changes = _git(folder, "log", *options, "--", *patterns)
    found = {tuple(line.split(maxsplit=5)[3::2]) for line in changes.splitlines() if line}
    for blob, path in sorted(found):
        if set(blob) != {"0"}:  # else the file was removed
            yield blob, path


def _git(folder: Path, *arguments: str) -> str:
    done = run_git(arguments, folder)
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
        found = running[0].info
        raise WorkspaceError(
            f"run {found.run_name} is at work and may need any object; wait for it, or, if it was "
            f"killed, end its record: `lungseg task close --run-id {found.run_id}`"
        )


def _listed(site: Site, store: RemoteStore | None, listing: str) -> set[str] | None:
    """The MD5s of the files of a folder; None when its listing is nowhere."""
    cached = object_path(shared_cache(site.settings), listing)
    if cached.is_file():
        return listed_md5s(cached.read_bytes(), str(cached))
    if committed := committed_object(site.project, listing):
        return listed_md5s(committed, f"{listing}, as it was committed")
    path = object_path(Path(), listing).as_posix()
    if store is None or path not in {file.path for file in store.list(path.rpartition("/")[0])}:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        store.get(path, Path(temporary, "listing"))
        return listed_md5s(Path(temporary, "listing").read_bytes(), f"{store.url}/{path}")


def listed_md5s(listing: bytes | str, where: str) -> set[str]:
    """The MD5s of a folder's files, by its listing; raises WorkspaceError for a damaged one."""
    try:
        return {str(entry["md5"]) for entry in json.loads(listing)}
    except (ValueError, TypeError, LookupError):
        raise WorkspaceError(
            f"{where}: is damaged, expected the list of a folder's files; remove it, then fetch or "
            "push it again (`dvc fetch`, `dvc push`)"
        ) from None


def committed_object(project: Path, md5: str) -> str | None:
    """The text of an object from a remote that is, or was, a part of the repository: samples/.

    None when it is not there; raises WorkspaceError when git fails.
    """
    for blob, _ in _versions(project, f"*{object_path(Path(), md5).as_posix()}"):
        return _git(project, "cat-file", "blob", blob)
    return None
