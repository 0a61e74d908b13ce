"""Unpacking a delivered zip: everything is checked before anything is written."""

from __future__ import annotations

import errno
import logging
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

from pipeline.errors import DatasetError

logger = logging.getLogger(__name__)

MAX_MEMBERS = 1_000_000
MAX_BYTES = 50 * 2**30  # the full COVID-19 Radiography Database has 0.8 GB
MAX_RATIO = 200  # PNG files are compressed already: a zip of them hardly shrinks them
SMALL = 2**20  # bytes; a member below this may shrink as far as it likes
MAX_DEPTH = 32  # folders within each other; a dataset has three, and some around it
MAX_PATH = 1024  # bytes; file systems end at 4096, and the target's own path comes before
ENCRYPTED = 0x1
DOS_FOLDER = 0x10
# What zipfile raises for a damaged archive.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    LZMAError,
    EOFError,
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


class Member(NamedTuple):
    """A member of a zip and where it goes."""

    info: ZipInfo
    path: PurePosixPath
    """Safe, relative to the target."""
    is_folder: bool


Naming = Callable[[Sequence[ZipInfo]], Sequence[str]]
"""Gives the names of members, in their order."""


def stored_names(members: Sequence[ZipInfo]) -> list[str]:
    """The names as zipfile reads them."""
    return [info.orig_filename for info in members]


def extract(archive: Path, target: Path, naming: Naming = stored_names) -> None:
    """Unpack the zip `archive` into the new folder `target`, whole or not at all.

    Backslashes in names are slashes, as Windows' own packer writes them. Refused before anything
    is written: paths that leave `target` or are not plain, links and devices, encryption, members
    that overwrite each other, and sizes that the disk or reason do not allow. A damaged member is
    found while unpacking and leaves no `target`. DatasetError.
    """
    with _reading(archive), ZipFile(archive) as opened:
        members = checked_members(opened, archive, naming)
        _fits(members, archive, target)
        target.mkdir(parents=True)
        try:
            for member in members:
                _write(opened, member, target / member.path)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    logger.info("%s: unpacked %d members", archive, len(members))


def checked_members(opened: ZipFile, archive: Path, naming: Naming = stored_names) -> list[Member]:
    """The members of `opened` with their safe relative paths; raises DatasetError."""
    infos = opened.infolist()
    members = [_member(*both, archive) for both in zip(infos, naming(infos), strict=True)]
    _check_sizes(members, archive)
    files: set[PurePosixPath] = set()
    for _, path, is_folder in members:
        if path in files:
            raise DatasetError(f"{archive}: holds {path} twice; pack it again")
        if not is_folder:
            files.add(path)
    for member in members:
        for parent in member.path.parents:
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
    except NotImplementedError as error:  # Deflate64, with which Windows packs large files
        raise DatasetError(
            f"{archive}: is packed in a way that is not read here ({error}); pack it again as a "
            "plain zip, compressed by deflate or not at all",
        ) from None
    except UnicodeDecodeError:
        raise DatasetError(
            f"{archive}: declares names to be UTF-8 that are not; pack it again",
        ) from None
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


def _member(info: ZipInfo, name: str, archive: Path) -> Member:
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    kind = stat.S_IFMT(info.external_attr >> 16)
    problem = None
    if name.startswith("/") or name[1:2] == ":" or ".." in parts or not parts:
        problem = "is no plain relative path"
    elif not name.isprintable() or any(len(part.encode()) > 255 for part in parts):
        problem = "has control characters in its name, or a name that is too long"
    elif len(parts) > MAX_DEPTH or len(name.encode()) > MAX_PATH:
        problem = f"lies more than {MAX_DEPTH} folders or {MAX_PATH} bytes of names deep"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device, not a file"
    elif info.flag_bits & ENCRYPTED:
        problem = "is encrypted"
    if problem:
        raise DatasetError(f"{archive}: member {name[:120]!r} {problem}; pack plain files only")
    is_folder = name.endswith("/") or bool(info.external_attr & DOS_FOLDER and not info.file_size)
    return Member(info, PurePosixPath(*parts), is_folder)


def _check_sizes(members: list[Member], archive: Path) -> None:
    total = sum(member.info.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_BYTES:
        raise DatasetError(
            f"{archive}: {len(members)} members with {total / 2**30:.1f} GiB, more than "
            f"{MAX_MEMBERS} members or {MAX_BYTES / 2**30:.0f} GiB; deliver it in parts",
        )
    # The whole against the archive's own size, because members may share their bytes.
    swollen = [
        str(path)
        for info, path, _ in members
        if info.file_size > max(SMALL, MAX_RATIO * info.compress_size)
    ]
    if total > max(SMALL, MAX_RATIO * archive.stat().st_size):
        swollen.append("the whole")
    if swollen:
        raise DatasetError(
            f"{archive}: {swollen[0]} expands more than {MAX_RATIO}-fold, as no radiograph does; "
            "pack the files again",
        )


def _fits(members: list[Member], archive: Path, target: Path) -> None:
    needed = sum(member.info.file_size for member in members)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise DatasetError(
            f"{archive}: needs {needed / 2**20:.0f} MiB in {target.parent}, {free / 2**20:.0f} MiB "
            "are free; free some space",
        )


def _write(opened: ZipFile, member: Member, path: Path) -> None:
    info = member.info
    if member.is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # ZipExtFile never yields more than the declared size and compares the CRC at its end.
    with opened.open(info) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, SMALL)
    if path.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is shorter than declared")
