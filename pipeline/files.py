"""Files that are either complete or absent, and their hashes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `folder`; it replaces `folder` on success."""
    partial = folder.with_name(f".{folder.name}.partial")
    former = folder.with_name(f".{folder.name}.former.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        shutil.rmtree(former, ignore_errors=True)
        # Renamed before it is deleted: a process that dies here leaves no half-deleted folder.
        if folder.exists():
            folder.rename(former)
        partial.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as stable, readable JSON; NaN and infinity are refused (ValueError)."""
    with atomic_path(path) as partial:
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header, with Unix line ends."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path, without: str = "") -> str:
    """Hex SHA-256 over every file below `folder`, its path and its bytes.

    The files in a folder `without` directly below it do not count.
    """
    files = {
        file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()
    }
    counting = {name: one for name, one in files.items() if name.partition("/")[0] != without}
    return sha256_files(counting)


def sha256_files(files: Mapping[str, Path]) -> str:
    """Hex SHA-256 over what `sha256sum` says of these files, in order of their names."""
    lines = (f"{sha256_file(file)}  {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


SUMS = "SHA256SUMS"
"""Of a folder that travels: the last of its files to be sent, without which nothing is read."""


def write_sums(folder: Path) -> None:
    """Add SUMS to a folder of files, as `sha256sum` writes it."""
    (folder / SUMS).write_bytes(_sums(folder))


def sums_hold(folder: Path) -> bool:
    """Whether the folder has SUMS, and just the files that it lists, undamaged."""
    try:
        return (folder / SUMS).read_bytes() == _sums(folder)
    except OSError:
        return False


def _sums(folder: Path) -> bytes:
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names).encode()


def link_file(source: str | Path, target: str | Path) -> str | Path:
    """Hard-link one file, or copy it where that cannot be; returns `target`."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # no hard links here, or too many of one file: the same bytes, copied
        shutil.copy2(source, target, follow_symlinks=False)
    return target
