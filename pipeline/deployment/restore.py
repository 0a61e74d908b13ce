"""Put a backup back: all is verified before anything changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipeline.deployment.backup import STORE
from pipeline.deployment.backup_parts import (
    MANIFEST,
    BackupManifest,
    Part,
    backup_parts,
    copy_in,
    files_below,
    manifest_entry,
)
from pipeline.deployment.databases import (
    database_state,
    is_postgres,
    load_database,
    without_password,
)
from pipeline.deployment.links import Site
from pipeline.errors import DeploymentError
from pipeline.remote_store import open_store
from pipeline.services.airflow_home import MIGRATED
from pipeline.services.airflow_home import folder as airflow_folder
from pipeline.services.daemon import descendants
from pipeline.settings import Settings


def restore_backup(settings: Settings, folder: Path, *, replace: bool) -> Iterator[str]:
    """Put the backup in `folder` back to where the settings say; yields a line for each part.

    Raises DeploymentError when the backup is damaged or of another deployment, when services run,
    or, unless `replace`, when there is something already; nothing has changed then.
    """
    manifest = read_manifest(folder)
    parts = [part for part in backup_parts(settings) if part.name in manifest.parts]
    lost = manifest.parts.keys() - {part.name for part in parts}
    if lost:
        raise DeploymentError(
            f"{folder}: holds {', '.join(sorted(lost))}, for which no setting names a place; set "
            "what was set for the backup"
        )
    _refuse_another_kind(parts, manifest)
    _refuse_another_home(settings, manifest)
    _refuse_use(settings, parts, replace=replace)
    # The databases last: they refer to all else.
    for part in sorted(parts, key=lambda one: one.kind == "database"):
        if part.kind == "database":
            if part.name == "airflow.database":  # of the former one: it may be of a later version
                (airflow_folder(settings) / MIGRATED).unlink(missing_ok=True)
            load_database(folder / part.name, part.source)
        else:
            copy_in(part, folder)
        yield f"{part.name}: restored to {without_password(part.source)}"
    with Site(settings) as site:
        yield _restore_store(site, manifest, folder)


def read_manifest(folder: Path) -> BackupManifest:
    """What the backup holds; raises DeploymentError unless every file is as it was written."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = BackupManifest.model_validate_json(text)
    except (OSError, ValidationError):
        raise DeploymentError(
            f"{folder}: no backup, or one that was never finished; expected a whole {MANIFEST}"
        ) from None
    found = {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
    del found[MANIFEST]
    differing = [
        name
        for name in sorted(found.keys() | manifest.files.keys())
        if name not in found or manifest_entry(found[name]) != manifest.files.get(name)
    ]
    if differing:
        raise DeploymentError(
            f"{folder}: {differing[0]} is not as it was written, and {len(differing) - 1} more; "
            "take another backup"
        )
    return manifest


def _refuse_another_kind(parts: list[Part], manifest: BackupManifest) -> None:
    """Refuse a copy of PostgreSQL for SQLite, and the reverse: neither reads the other's."""
    for part in parts:
        before = manifest.parts[part.name]
        if part.kind == "database" and is_postgres(before) != is_postgres(part.source):
            raise DeploymentError(
                f"{part.name}: the backup is of {before}, and would be restored to "
                f"{without_password(part.source)}, expected the same kind of database; set what "
                "was set for the backup"
            )


def _refuse_another_home(settings: Settings, manifest: BackupManifest) -> None:
    if "local.database" in manifest.parts and Path(manifest.home) != settings.home:
        raise DeploymentError(
            f"the store of runs without services names its files by their path: set LUNGSEG_HOME "
            f"to {manifest.home}, found {settings.home}"
        )


def _refuse_use(settings: Settings, parts: list[Part], *, replace: bool) -> None:
    """Refuse where something runs or, unless it shall be replaced, is there already."""
    if descendants(settings.home):
        raise DeploymentError("the local services run; stop them with `lungseg down`")
    full = []
    for part in parts:
        if part.kind == "database":
            state = database_state(part.source)
            if state.connections > 0:
                raise DeploymentError(
                    f"{without_password(part.source)}: {state.connections} others are connected; "
                    "stop Airflow and MLflow first"
                )
            occupied = state.tables > 0
        elif part.kind == "store":
            occupied = bool(part.open().list(""))
        else:
            occupied = next(files_below(part.path), None) is not None
        full += [without_password(part.source)] if occupied else []
    if full and not replace:
        raise DeploymentError(
            f"{', '.join(full)}: not empty; --replace puts the backup in their place"
        )


def _restore_store(site: Site, manifest: BackupManifest, folder: Path) -> str:
    """Put back the objects that were copied and are missing; name what is missing still."""
    store = open_store(site.project)
    if store is None:
        return "no DVC remote outside of the repository: no objects restored"
    there = {file.path for file in store.list("")}
    missing = manifest.store.keys() - there
    copied = [path for path in sorted(missing) if (folder / STORE / path).is_file()]
    for path in copied:
        store.put(folder / STORE / path, path)
    lost = len(missing) - len(copied)
    told = f"{lost} are missing; restore the store, too" if lost else "none is missing"
    return f"DVC remote {store.url}: {len(copied)} objects restored, {told}"
