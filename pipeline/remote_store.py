"""The store that the hosts of a deployment share: the default DVC remote, seen file by file.

DVC itself pushes and pulls results. What else has to leave a host, such as the checkpoints of a
training, lies beside them in folders of its own. What is wrong with the store is found out here,
too: DVC only says how many files failed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from configobj import ConfigObj

from pipeline.errors import LungsegError, ServiceError, WorkspaceError
from pipeline.files import SUMS, atomic_folder
from pipeline.git_command import without_login
from pipeline.library_errors import distrusts, refuses

PROBES = "probes"
"""Folder of the small files by which the store is tried."""

PATH_SETTINGS = (
    "url",
    "cert_path",
    "configpath",
    "credentialpath",
    "gdrive_service_account_json_file_path",
    "gdrive_user_credentials_file",
    "key_path",
    "keyfile",
)
"""Settings of a DVC remote that may be paths, which DVC takes from the folder of its file."""


@dataclass(frozen=True)
class StoredFile:
    """A file of the store: its path below the store's root, bytes, and seconds since 1970."""

    path: str
    size: int
    modified: float


def remote_url(project: Path) -> str | None:
    """The URL or path of the project's default DVC remote; None when hosts cannot share it.

    A folder inside of the checkout (samples/) is a part of the repository, not a store.
    """
    config = ConfigObj(str(project / ".dvc" / "config"))
    config.merge(ConfigObj(str(project / ".dvc" / "config.local")))
    remote = config.get("core", {}).get("remote")
    url = config.get(f'remote "{remote}"', {}).get("url") if remote else None
    if not url:
        return None
    place = absolute_path(project / ".dvc", url)
    inside = "://" not in url and Path(place).is_relative_to(project.resolve())
    return None if inside else place


def absolute_path(dvc_folder: Path, value: str) -> str:
    """What DVC takes for a path in a file of the folder .dvc; a URL stays as it is."""
    if "://" in value:
        return value
    return str((dvc_folder / Path(value).expanduser()).resolve())


def outer_paths(project: Path) -> Iterator[tuple[str, str, str]]:
    """Every relative path out of the project in its committed .dvc/config.

    Gives the section, the setting and the path; another checkout of the project, at another place,
    would look for it elsewhere.
    """
    for name, section in ConfigObj(str(project / ".dvc" / "config")).items():
        for setting in PATH_SETTINGS if name.startswith("remote ") else ():
            path = section.get(setting, "")
            if not path or "://" in path or Path(path).expanduser().is_absolute():
                continue
            if not Path(absolute_path(project / ".dvc", path)).is_relative_to(project.resolve()):
                yield name, setting, path


def open_store(project: Path) -> RemoteStore | None:
    """The store of the project in this folder; None when it has none.

    Nothing is asked of it yet. Raises WorkspaceError for a remote that DVC cannot read.
    """
    url = remote_url(project)
    if url is None:
        return None
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs

    try:
        config = Config(dvc_dir=str(project.absolute() / ".dvc"))
        kind, options, root = get_cloud_fs(config, name=config["core"]["remote"])
        return RemoteStore(kind(**options), root, url)
    except DvcException as error:
        raise WorkspaceError(without_login(f"{url}: {error}; mend the DVC remote")) from None


def open_location(url: str, endpoint: str | None) -> RemoteStore:
    """The store at a URL or in a folder, whatever the project's DVC remote is.

    `endpoint` is of an S3 store that is not Amazon's. Raises WorkspaceError for a URL of no store.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs

    options = {"endpointurl": endpoint} if endpoint and url.startswith("s3:") else {}
    try:
        kind, found, root = get_cloud_fs({}, url=url, **options)
        return RemoteStore(kind(**found), root, url)
    except DvcException as error:
        raise WorkspaceError(
            without_login(f"{url}: {error}; name a folder or a store like s3://…")
        ) from None


class RemoteStore:
    """Files by their path below the root of a DVC remote.

    Every method raises ServiceError when the store does not answer, and WorkspaceError when it
    refuses: a wrong secret, a missing bucket, a certificate that is not trusted, a full disk.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs, self._root = fs, root
        self.url = without_login(url)
        """As people may see it."""

    def list(self, prefix: str) -> list[StoredFile]:
        """Every file below the folder `prefix`, all if it is empty, in order of their paths."""
        folder = self._path(prefix) if prefix else self._root.rstrip("/")
        before = f"{prefix}/" if prefix else ""
        with self._translated():
            self._fs.fs.invalidate_cache()
            # One request for many files; where the store is a folder, there are only their paths.
            found = self._fs.fs.find(folder, detail=True)
            found = found if isinstance(found, dict) else {p: self._fs.info(p) for p in found}
        return [
            StoredFile(
                f"{before}{path.removeprefix(f'{folder}/')}", int(info["size"]), _modified(info)
            )
            for path, info in sorted(found.items())
        ]

    def put(self, file: Path, path: str) -> None:
        """Upload a file; one that is there is replaced."""
        with self._translated():
            self._fs.put_file(str(file), self._path(path))

    def get(self, path: str, file: Path) -> None:
        """Download a file."""
        with self._translated():
            self._fs.get_file(self._path(path), str(file))

    def folders(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """The folders below `prefix` in order of their paths, each with the names of its files."""
        found: dict[str, tuple[str, ...]] = {}
        for file in self.list(prefix):
            folder, _, name = file.path.rpartition("/")
            found[folder] = (*found.get(folder, ()), name)
        return dict(sorted(found.items()))  # by file, a-1/x comes before a/x

    def put_folder(self, folder: Path, path: str) -> None:
        """Upload the files of a folder, SUMS last: one without is not whole."""
        with self._translated():
            files = sorted(folder.iterdir(), key=lambda file: (file.name == SUMS, file.name))
        for file in files:
            self.put(file, f"{path}/{file.name}")

    def get_folder(self, path: str, names: Iterable[str], folder: Path) -> None:
        """Download the files of a folder; it is there with all of them, or not at all."""
        with atomic_folder(folder) as partial:
            for name in names:
                self.get(f"{path}/{name}", partial / name)

    def remove_all(self, paths: Iterable[str]) -> None:
        """Remove files of folders, SUMS first: what an interruption leaves is not whole."""
        for path in sorted(paths, key=lambda path: not path.endswith(SUMS)):
            self.remove(path)

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        with self._translated():
            try:
                self._fs.rm(self._path(path))
            except FileNotFoundError:
                return

    def probe(self) -> None:
        """Write, read and remove a small file."""
        path = self._path(f"{PROBES}/{uuid.uuid4().hex}")
        content = path.encode()
        with self._translated():
            self._fs.makedirs(self._fs.parent(path))
            self._fs.pipe_file(path, content)
            found = self._fs.cat_file(path)
            self._fs.rm(path)
        if found != content:
            raise WorkspaceError(f"{self.url}: gives back other bytes than were written; repair it")

    def _path(self, path: str) -> str:
        return str(self._fs.join(self._root, *path.split("/")))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except LungsegError:
            raise
        except Exception as error:  # of whichever library speaks to this kind of store
            raise _problem(self.url, error) from None


def _modified(info: dict[str, Any]) -> float:
    stamp = info.get("LastModified") or info.get("mtime") or info.get("modified") or 0.0
    return stamp.timestamp() if isinstance(stamp, datetime) else float(stamp)


def _problem(url: str, error: Exception) -> LungsegError:
    """What the error of a store's library means, in one line."""
    text = without_login(" ".join(str(error).split())) or type(error).__name__
    if distrusts(error):
        return WorkspaceError(
            f"{url}: the store's certificate is not trusted; name the authority that signed it by "
            "AWS_CA_BUNDLE"
        )
    if refuses(error):
        return WorkspaceError(
            f"{url}: the store refuses: {text}; mend its address, bucket or credentials, then try "
            "again"
        )
    return ServiceError(f"{url}: the store does not answer: {text}; it is tried again")
