"""Unpacking a delivered zip: everything is checked before anything is written."""

from __future__ import annotations

import errno
import logging
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo

from pipeline.errors import DatasetError

logger = logging.getLogger(__name__)

MAX_MEMBERS = 1_000_000
MAX_BYTES = 50 * 2**30  # the full COVID-19 Radiography Database has 0.8 GB
MAX_RATIO = 200  # PNG files are compressed already: a zip of them hardly shrinks them
SMALL = 2**20  # bytes; a member below this may shrink as far as it likes
ENCRYPTED = 0x1
# What zipfile raises for a damaged archive.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
)
KINDS = (
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"PK", "a damaged or truncated zip"),
    (0, b"<", "an HTML or XML page, such as the login page of a download"),
    (257, b"ustar", "a tar archive"),
)


def extract(archive: Path, target: Path) -> None:
    """Unpack the zip `archive` into the new folder `target`, whole or not at all.

    Refused before anything is written: paths that leave `target` or are not plain, links and
    devices, encryption, members that overwrite each other, and sizes that the disk or reason
    do not allow. A damaged member is found while unpacking and leaves no `target`. DatasetError.
    """
    with _reading(archive), ZipFile(archive) as opened:
        members = checked_members(opened, archive)
        _fits(members, archive, target)
        target.mkdir(parents=True)
        try:
            for info, path in members:
                _write(opened, info, target / path)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    logger.info("%s: unpacked %d members", archive, len(members))


def checked_members(opened: ZipFile, archive: Path) -> list[tuple[ZipInfo, PurePosixPath]]:
    """The members of `opened` with their safe relative paths; raises DatasetError."""
    members = [(info, _path(info, archive)) for info in opened.infolist()]
    _check_sizes([info for info, _ in members], archive)
    files: set[PurePosixPath] = set()
    for info, path in members:
        if path in files:
            raise DatasetError(f"{archive}: holds {path} twice; pack it again")
        if not info.is_dir():
            files.add(path)
    for _, path in members:
        for parent in path.parents:
            if parent in files:
                raise DatasetError(f"{archive}: {parent} is a file and a folder; pack it again")
    return members


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn everything that a damaged zip can raise into one line."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{archive}: no such file; give a folder or a zip") from None
    except DAMAGED as error:
        # A damaged offset or bz2 stream is an OSError too; a full disk is another matter.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DatasetError(
            f"{archive}: found {_kind(archive)}, expected a sound zip ({error or 'cut off'}); "
            "fetch or pack it again",
        ) from None


def _kind(archive: Path) -> str:
    with archive.open("rb") as file:
        head = file.read(512)
    if not head:
        return "an empty file"
    for offset, magic, kind in KINDS:
        if head[offset:].lstrip()[: len(magic)] == magic:
            return kind
    return "something else"


def _path(info: ZipInfo, archive: Path) -> PurePosixPath:
    name = info.orig_filename
    parts = [part for part in name.split("/") if part not in ("", ".")]
    kind = stat.S_IFMT(info.external_attr >> 16)
    problem = None
    if name.startswith("/") or name[1:2] == ":" or "\\" in name or ".." in parts or not parts:
        problem = "is no plain relative path"
    elif not name.isprintable() or any(len(part.encode()) > 255 for part in parts):
        problem = "has control characters in its name, or a name that is too long"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device, not a file"
    elif info.flag_bits & ENCRYPTED:
        problem = "is encrypted"
    if problem:
        raise DatasetError(f"{archive}: member {name[:120]!r} {problem}; pack plain files only")
    return PurePosixPath(*parts)


def _check_sizes(members: list[ZipInfo], archive: Path) -> None:
    total = sum(info.file_size for info in members)
    if len(members) > MAX_MEMBERS or total > MAX_BYTES:
        raise DatasetError(
            f"{archive}: {len(members)} members with {total / 2**30:.1f} GiB, more than "
            f"{MAX_MEMBERS} members or {MAX_BYTES / 2**30:.0f} GiB; deliver it in parts",
        )
    # The whole against the archive's own size, because members may share their bytes.
    swollen = [
        info.filename
        for info in members
        if info.file_size > max(SMALL, MAX_RATIO * info.compress_size)
    ]
    if total > max(SMALL, MAX_RATIO * archive.stat().st_size):
        swollen.append("the whole")
    if swollen:
        raise DatasetError(
            f"{archive}: {swollen[0]} expands more than {MAX_RATIO}-fold, as no radiograph does; "
            "pack the files again",
        )


def _fits(members: list[tuple[ZipInfo, PurePosixPath]], archive: Path, target: Path) -> None:
    needed = sum(info.file_size for info, _ in members)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise DatasetError(
            f"{archive}: needs {needed / 2**20:.0f} MiB in {target.parent}, {free / 2**20:.0f} MiB "
            "are free; free some space",
        )


def _write(opened: ZipFile, info: ZipInfo, path: Path) -> None:
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # ZipExtFile never yields more than the declared size and compares the CRC at its end.
    with opened.open(info) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, SMALL)
    if path.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is shorter than declared")
