"""Objects of DVC's cache and remote, checkpoints and parts in the remote, that nobody needs."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import yaml

from pipeline.deployment.leftovers import FreedBytes, Leftover
from pipeline.deployment.needed_objects import listed_md5s, md5s_in
from pipeline.errors import WorkspaceError
from pipeline.model.travelling import ROOT as CHECKPOINTS
from pipeline.remote_store import RemoteStore, StoredFile
from pipeline.workspace.pushing import RUN_CACHE
from pipeline.workspace.stage_parts import ROOT as PARTS

OBJECTS = "files/md5"
"""DVC's folder of objects, in a cache and in a remote alike."""


class FileStore(Protocol):
    """What DVC's cache and its remote have in common here."""

    url: str
    """As people may see it."""

    def list(self, prefix: str) -> list[StoredFile]:
        """Every file below the folder."""

    def get(self, path: str, file: Path) -> None:
        """Copy a file to `file`."""

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""


class LocalCache:
    """DVC's cache on this host, file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, str(folder)

    def list(self, prefix: str) -> list[StoredFile]:
        """Every file below the folder `prefix`, in order of their paths."""
        files = [path for path in sorted((self.folder / prefix).rglob("*")) if path.is_file()]
        return [
            StoredFile(
                path.relative_to(self.folder).as_posix(), path.stat().st_size, path.stat().st_mtime
            )
            for path in files
        ]

    def get(self, path: str, file: Path) -> None:
        """Copy a file to `file`."""
        file.write_bytes((self.folder / path).read_bytes())

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        (self.folder / path).unlink(missing_ok=True)


def cache_leftovers(
    cache: LocalCache, needed: set[str], before: float, freed: FreedBytes
) -> Iterator[Leftover]:
    """Old objects of the cache that nothing needs, and entries of its run cache that name such."""
    for kind, file in _unneeded(cache, needed, before):
        size = freed.of(cache.folder / file.path)
        yield Leftover(f"{kind} of the cache", file.path, size, partial(_remove, cache, [file]))


def store_leftovers(store: RemoteStore, needed: set[str], before: float) -> Iterator[Leftover]:
    """The same of the store."""
    for kind, file in _unneeded(store, needed, before):
        remove = partial(_remove, store, [file])
        yield Leftover(f"{kind} of the store", file.path, file.size, remove)


def unfinished_leftovers(store: RemoteStore, before: float) -> Iterator[Leftover]:
    """Checkpoints of a training and parts of a run's stages, the newest of which is old."""
    for root in (CHECKPOINTS, PARTS):
        unfinished: Mapping[str, list[StoredFile]] = defaultdict(list)
        for file in store.list(root):
            unfinished[file.path.split("/")[1]].append(file)
        for key, files in unfinished.items():
            if max(file.modified for file in files) < before:
                paths = [file.path for file in files]
                size, remove = sum(file.size for file in files), partial(_remove_all, store, paths)
                yield Leftover(f"{root} of the store", key, size, remove)


def _unneeded(
    store: FileStore, needed: set[str], before: float
) -> Iterator[tuple[str, StoredFile]]:
    """What can go, and its kind: entries of the run cache, listings of folders, then files.

    In this order nothing that stays names what is gone, wherever the removal is interrupted. Raises
    WorkspaceError for a listing or an entry that is damaged: what it names is not known.
    """
    objects = {_md5(file.path): file for file in store.list(OBJECTS)}
    young = {md5 for md5, file in objects.items() if file.modified >= before}
    for md5 in young - needed:
        if md5.endswith(".dir"):
            path = objects[md5].path
            young |= listed_md5s(_bytes(store, path), f"{store.url}/{path}")
    gone = objects.keys() - needed - young
    for entry in store.list(RUN_CACHE):
        content = _bytes(store, entry.path)
        if not gone.isdisjoint(_results(content, f"{store.url}/{entry.path}")):
            yield "run-cache entries", entry
    for md5 in sorted(gone, key=lambda one: (not one.endswith(".dir"), one)):
        yield "objects", objects[md5]


def _results(entry: bytes, where: str) -> set[str]:
    """The MD5s of what a stage made, by an entry of the run cache."""
    try:
        content = yaml.safe_load(entry)
    except yaml.YAMLError:
        raise WorkspaceError(f"{where}: is damaged, expected YAML; remove it") from None
    return set(md5s_in(content.get("outs", []) if isinstance(content, Mapping) else []))


def _bytes(store: FileStore, path: str) -> bytes:
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary, "file")
        store.get(path, target)
        return target.read_bytes()


def _remove(store: FileStore, files: list[StoredFile]) -> bool:
    for file in files:
        store.remove(file.path)
    return True


def _remove_all(store: RemoteStore, paths: list[str]) -> bool:
    store.remove_all(paths)
    return True


def _md5(path: str) -> str:
    """The MD5 by which an object is named: the names of its folder and of itself joined."""
    return "".join(path.split("/")[-2:])
