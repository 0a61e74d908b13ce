"""A copy of all that cannot be made again: databases, artifacts, keys, the log of releases.

The services may go on: each database is copied as it is at one moment, and what it refers to, which
is never changed, after it. The copy holds secrets and radiographs: its folder is its user's alone.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.deployment.backup_parts import (
    MANIFEST,
    BackupManifest,
    Part,
    backup_parts,
    copy_out,
    files_below,
    is_there,
    manifest_entry,
)
from pipeline.deployment.databases import dump_database, without_password
from pipeline.deployment.links import Site
from pipeline.deployment.needed_objects import committed_object
from pipeline.deployment.object_leftovers import OBJECTS
from pipeline.errors import DeploymentError
from pipeline.files import atomic_folder, write_json
from pipeline.remote_store import open_store, remote_url
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.objects import parse_pointer
from pipeline.workspace.pushing import RUN_CACHE

PLACES = {
    "mlflow.database": "MLFLOW_BACKEND_STORE_URI",
    "mlflow-artifacts": "MLFLOW_ARTIFACTS_DESTINATION",
    "airflow.database": "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "mlflow-users.database": "MLFLOW_AUTH_CONFIG_PATH",
    "signing_key": "LUNGSEG_SIGNING_KEY",
    "trusted": "LUNGSEG_TRUSTED_KEYS",
}
"""Parts that every deployment with services has or a setting names, and that setting."""
STORE = Path("store")
"""Folder of the backup for the objects of the DVC remote."""


def back_up(settings: Settings, folder: Path, *, objects: bool) -> Iterator[str]:
    """Copy to `folder`, which must not exist; yields a line for each part.

    With `objects` also those of the DVC remote, which else are only listed. Raises DeploymentError,
    ServiceError, or DatasetError for a data.dvc that is none, and then leaves nothing.
    """
    if folder.exists():
        raise DeploymentError(f"{folder}: is there already; name a new folder for each backup")
    wanted = backup_parts(settings)
    parts = [part for part in wanted if is_there(part)]
    if not parts:
        raise DeploymentError(
            f"{settings.home}: nothing to back up; call this where the services are, with their "
            "settings"
        )
    for part in wanted:
        if part.name in PLACES and part not in parts:
            yield f"{part.name}: not on this host, not backed up; {PLACES[part.name]} names it"
    with atomic_folder(folder.absolute()) as partial, Site(settings) as site:
        partial.chmod(0o700)
        for part in parts:
            if part.kind == "database":
                dump_database(part.source, partial / part.name)
            else:
                copy_out(part, partial)
            yield f"{part.name}: {_told(partial / part.name)}"
        stored, line = _keep_store(site, partial, objects=objects)
        yield line
        write_json(partial / MANIFEST, _manifest(settings, parts, partial, stored).model_dump())


def _told(path: Path) -> str:
    sizes = [file.stat().st_size for file in files_below(path)]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


def _keep_store(site: Site, folder: Path, *, objects: bool) -> tuple[dict[str, int], str]:
    """The objects of the DVC remote, and a line on what protects them."""
    store, url = open_store(site.project), remote_url(site.project)
    if store is None or url is None:
        if _is_committed(site.project):
            return {}, "DVC remote: a part of the repository, which is its own copy"
        return {}, (
            "no DVC remote outside of the repository: data and results are in "
            f"{shared_cache(site.settings)} alone, which is not in this backup; add a remote and "
            "`dvc push`"
        )
    # Not the checkpoints and parts of runs at work, which lie there for a short time only.
    below = (OBJECTS, RUN_CACHE)
    if objects:
        copy_out(Part(STORE.name, "store", url, site.settings.remote_endpoint, below), folder)
        copied = folder / STORE
        stored = {
            file.relative_to(copied).as_posix(): file.stat().st_size for file in files_below(copied)
        }
        return stored, f"DVC remote {store.url}: {_told(copied)}"
    stored = {file.path: file.size for name in below for file in store.list(name)}
    kept = _protection(site, url)
    return stored, f"DVC remote {store.url}: {len(stored)} objects listed, not copied; {kept}"


def _is_committed(project: Path) -> bool:
    """Whether the repository itself holds the dataset, as it does samples/."""
    file = project / "data.dvc"
    if not file.exists():
        return False
    pointer = parse_pointer(file.read_text(encoding="utf-8"), file.name)
    return committed_object(project, pointer.md5) is not None


def _protection(site: Site, url: str) -> str:
    """Whether the store itself keeps what is overwritten or deleted."""
    if not url.startswith("s3://"):
        return "copy them by other means, or with --objects"
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = url.removeprefix("s3://").partition("/")[0]
    try:
        client = boto3.Session().client("s3", endpoint_url=site.settings.remote_endpoint)
        status = client.get_bucket_versioning(Bucket=bucket).get("Status")
    except (BotoCoreError, ClientError):
        status = None
    if status == "Enabled":
        return "its bucket keeps former versions"
    return (
        f"bucket {bucket} keeps no former versions: switch versioning and replication on there, or "
        "back up with --objects"
    )


def _manifest(
    settings: Settings, parts: list[Part], folder: Path, stored: dict[str, int]
) -> BackupManifest:
    files = {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
    return BackupManifest(
        version=importlib.metadata.version("lungseg"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        home=str(settings.home),
        parts={part.name: without_password(part.source) for part in parts},
        files={name: manifest_entry(file) for name, file in files.items()},
        store=stored,
    )
