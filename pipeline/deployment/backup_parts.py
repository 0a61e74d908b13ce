"""What a backup holds: which databases, folders and files of a deployment cannot be made again."""

from __future__ import annotations

import configparser
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.deployment.databases import sqlite_file
from pipeline.errors import DeploymentError, WorkspaceError
from pipeline.files import sha256_file
from pipeline.remote_store import RemoteStore, open_location
from pipeline.services.airflow_home import PASSWORDS
from pipeline.services.airflow_home import folder as airflow_folder
from pipeline.settings import Settings

Kind = Literal["database", "folder", "file", "store"]
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Part:
    """A part of a deployment: `source` is a database's URL, a path or a store's URL."""

    name: str
    """Also its path in the backup."""
    kind: Kind
    source: str
    endpoint: str | None = None
    """Of a store that is not Amazon's."""
    below: tuple[str, ...] = ("",)
    """The folders of a store that are kept; by default all of it."""

    @property
    def path(self) -> Path:
        """Where it is, for a folder or a file."""
        return Path(self.source)

    def open(self) -> RemoteStore:
        """The store, for a store."""
        return open_location(self.source, self.endpoint)


class BackupFile(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str


class BackupManifest(BaseModel):
    """What a backup holds, and of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Of lungseg."""
    made: str
    """When, ISO 8601 in UTC."""
    home: str
    parts: dict[str, str]
    """Where each part was, without passwords."""
    files: dict[str, BackupFile]
    store: dict[str, int]
    """Bytes of every object of the DVC remote then, by path; copied only when asked for."""


def backup_parts(settings: Settings) -> list[Part]:
    """The parts that there may be, databases first: what they refer to is copied after them.

    Raises DeploymentError when the settings of MLflow's log-in name no database of its users.
    """
    home = settings.home
    mlflow = settings.mlflow_database or f"sqlite:///{home}/mlflow/mlflow.db"
    airflow = settings.airflow_database or f"sqlite:///{airflow_folder(settings)}/airflow.db"
    artifacts = settings.mlflow_artifacts or str(home / "mlflow" / "artifacts")
    kind: Kind = "store" if "://" in artifacts else "folder"
    parts = [
        Part("mlflow.database", "database", mlflow),
        Part("local.database", "database", f"sqlite:///{home}/local/mlflow.db"),
        Part("airflow.database", "database", airflow),
        Part("mlflow-artifacts", kind, artifacts, settings.mlflow_endpoint),
        Part("local-artifacts", "folder", str(home / "local" / "artifacts")),
        Part("keys", "folder", str(home / "keys")),
        Part("releases", "folder", str(home / "releases")),
        Part("airflow.cfg", "file", str(airflow_folder(settings) / "airflow.cfg")),
        Part(PASSWORDS, "file", str(airflow_folder(settings) / PASSWORDS)),
    ]
    if config := settings.mlflow_auth:
        parts.insert(1, Part("mlflow-users.database", "database", _users(config)))
    for name, key in (("signing_key", settings.signing_key), ("trusted", settings.trusted_keys)):
        parts += [Part(name, "file", str(key))] if key else []
    return parts


def _users(config: Path) -> str:
    """The database of MLflow's users, by its server's file of settings, read as the server does."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(config.read_text(encoding="utf-8"))
        return parser["mlflow"]["database_uri"]
    except (OSError, ValueError, KeyError, configparser.Error) as error:
        told = error.strerror if isinstance(error, OSError) else "no [mlflow] with a database_uri"
        raise DeploymentError(
            f"MLFLOW_AUTH_CONFIG_PATH={config}: {told}; expected the file by which MLflow's server "
            "finds its users"
        ) from None


def is_there(part: Part) -> bool:
    """Whether there is something of the part; a server or a store is asked when it is read."""
    if part.kind == "store":
        return True
    path = sqlite_file(part.source) if part.kind == "database" else part.path
    return path is None or path.exists()


def copy_out(part: Part, folder: Path) -> None:
    """Copy a folder, a file or a store to its place in the backup in `folder`.

    Of a store that is in use, what is gone meanwhile is left out.
    """
    target = folder / part.name
    if part.kind == "file":
        shutil.copyfile(part.path, target)
    elif part.kind == "folder":
        shutil.copytree(part.path, target, symlinks=True, copy_function=shutil.copyfile)
    else:
        store = part.open()
        for name in part.below:
            _copy_stored(store, name, target)


def _copy_stored(store: RemoteStore, name: str, target: Path) -> None:
    for file in store.list(name):
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        try:
            store.get(file.path, target / file.path)
        except WorkspaceError:
            left = {one.path for one in store.list(name)}
            if file.path in left or not left:  # else the store itself is there, without that file
                raise
            (target / file.path).unlink(missing_ok=True)


def copy_in(part: Part, folder: Path) -> None:
    """Copy a part of the backup in `folder` back to where it belongs; only its user may read it."""
    source = folder / part.name
    if part.kind == "store":
        store = part.open()
        for file in files_below(source):
            store.put(file, file.relative_to(source).as_posix())
        return
    for file in files_below(source):
        target = part.path / file.relative_to(source) if part.kind == "folder" else part.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.touch(mode=0o600)
        shutil.copyfile(file, target)
        target.chmod(0o600)


def files_below(path: Path) -> Iterator[Path]:
    """The file itself, or every file below a folder, in order of their names."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    yield from (file for file in found if file.is_file())


def manifest_entry(file: Path) -> BackupFile:
    """Size and SHA-256 of a file."""
    return BackupFile(size=file.stat().st_size, sha256=sha256_file(file))
