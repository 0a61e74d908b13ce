"""The objects of a folder or file in DVC's cache: what it holds, and whether it is intact.

DVC trusts what lies in its cache, and takes a damaged list of files from a remote as it is, so
neither `dvc status` nor `dvc pull` is proof. The layout read here is DVC's documented one: an
object is named by the MD5 of its bytes, and that of a folder (`….dir`) lists its files as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.errors import DatasetError

REMEDY = (
    "drop the cache entry if there is one and pull again (`dvc pull`); if that fails too, push it "
    "again from a copy whose cache is good (`dvc push`)"
)


@dataclass(frozen=True)
class DataPointer:
    """What a data.dvc says of the dataset: where in DVC's cache it is, not what it is."""

    md5: str
    """The object that lists the files; ends in `.dir`."""
    size: int
    """Bytes."""
    files: int


def parse_pointer(text: str, where: str) -> DataPointer:
    """Read a data.dvc; raises DatasetError, naming `where` it is from."""
    try:
        out = yaml.safe_load(text)["outs"][0]
        pointer = DataPointer(str(out["md5"]), int(out["size"]), int(out["nfiles"]))
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        pointer = None
    if pointer is None or not pointer.md5.endswith(".dir"):
        raise DatasetError(
            f"{where}: points to no folder with an MD5, expected what `dvc add data` writes",
        )
    return pointer


def object_path(cache: Path, md5: str) -> Path:
    """Where DVC keeps the object."""
    return cache / "files/md5" / md5[:2] / md5[2:]


def read_listing(cache: Path, md5: str) -> dict[str, str]:
    """Path to MD5 of every file in a recorded folder; raises DatasetError unless it is intact."""
    if problem := _problem(cache, md5):
        raise DatasetError(f"the list of its files: {problem}")
    entries = json.loads(object_path(cache, md5).read_text(encoding="utf-8"))
    return {entry["relpath"]: entry["md5"] for entry in entries}


def find_damage(cache: Path, recorded: Mapping[str, str], *, files: bool = True) -> str | None:
    """One sentence on the first missing or damaged object; None when all are intact.

    `recorded` are paths with their MD5, folders among them. Every object is read; without `files`
    only what stands in `recorded` itself: of a folder its list of files.
    """
    for path, md5 in recorded.items():
        for file, one in _objects(cache, path, md5) if files else [(path, md5)]:
            if problem := _problem(cache, one):
                return f"{file}: {problem}"
    return None


def _objects(cache: Path, path: str, md5: str) -> Iterator[tuple[str, str]]:
    """The objects of a path, a folder's list of files before the files."""
    yield path, md5
    if md5.endswith(".dir"):
        for file, one in sorted(read_listing(cache, md5).items()):
            yield f"{path}/{file}", one


def _problem(cache: Path, md5: str) -> str | None:
    path = object_path(cache, md5)
    if not path.is_file():
        return f"object {md5} is not in the cache {cache}, and no remote gave it intact; {REMEDY}"
    if md5_file(path) != md5.removesuffix(".dir"):
        return f"object {path} is damaged, its bytes do not have this MD5; {REMEDY}"
    return None


def md5_file(path: Path) -> str:
    """Hex MD5 of a file's bytes, by which DVC names them."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
