"""The names in a zip, whose packer may not have said in which code page it wrote them."""

from __future__ import annotations

import codecs
import logging
import shlex
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipInfo

from pipeline.dataset.delivery.code_pages import suggest
from pipeline.errors import DatasetError

logger = logging.getLogger(__name__)

OPTION = "--code-page"
UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
"""The extra field in which Info-ZIP keeps the name as UTF-8 beside the one of the code page."""
SHOWN = 5
"""Names in a line."""


@dataclass(frozen=True)
class MemberNaming:
    """How the names of an archive's members are to be read."""

    archive: Path
    code_page: str | None = None
    """Of the names that do not say themselves; None for what they suggest."""

    def __call__(self, members: Sequence[ZipInfo]) -> list[str]:
        """The names of `members`; says which code page was taken. Raises DatasetError."""
        names = [_known_name(info) for info in members]
        unknown = [
            stored_bytes(info) for info, name in zip(members, names, strict=True) if name is None
        ]
        if not unknown:
            return [name for name in names if name is not None]
        code_page = self.code_page or self._suggested(unknown)
        decoded = iter(self._decoded(unknown, code_page))
        texts = [next(decoded) if name is None else name for name in names]
        logger.warning(
            "%s: does not say how its names are written; read as %s: %s (%s CODEPAGE for another)",
            self.archive,
            code_page,
            _sample(text for text, name in zip(texts, names, strict=True) if name is None),
            OPTION,
        )
        return texts

    def _suggested(self, names: list[bytes]) -> str:
        if all(_is_utf8(name) for name in names):
            return "utf-8"
        found = suggest(names)
        if len(found) == 1:
            return found[0].code_page
        if not found:
            raise DatasetError(
                f"{self.archive}: names such as {_escaped(names[0])} are in no code page that is "
                f"known here; {self._command('CODEPAGE')} says which",
            )
        readings = " or ".join(
            f"{', '.join(one.words[:2])} ({self._command(one.code_page)})" for one in found[:SHOWN]
        )
        raise DatasetError(
            f"{self.archive}: does not say how its names are written, expected one reading; say "
            f"which is right: {readings}",
        )

    def _decoded(self, names: list[bytes], code_page: str) -> list[str]:
        texts = []
        for name in names:
            try:
                texts.append(name.decode(code_page))
            except UnicodeError:
                raise DatasetError(
                    f"{self.archive}: the name {_escaped(name)} is not written in {code_page}; "
                    f"give another {OPTION}, or none",
                ) from None
        return texts

    def _command(self, code_page: str) -> str:
        source = shlex.quote(str(self.archive))
        return f"`lungseg data import {OPTION} {code_page} {source}`"


def check_code_page(name: str) -> None:
    """Raise DatasetError unless Python has a codec of text of this name."""
    try:
        codecs.lookup(name)
        b"\x80".decode(name, "replace")
    except (LookupError, ValueError):
        raise DatasetError(
            f"{OPTION}: {name!r} is no code page; expected one such as cp866, cp1251, cp850, cp932 "
            "or gbk",
        ) from None


def stored_bytes(info: ZipInfo) -> bytes:
    """The name as the archive holds it; zipfile reads it as UTF-8 or, without the flag, cp437."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_FLAG else "cp437")


def _known_name(info: ZipInfo) -> str | None:
    """The name where the archive says how to read it, or where it is ASCII."""
    if info.flag_bits & UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    return _unicode_path(info)


def _unicode_path(info: ZipInfo) -> str | None:
    """The name in the extra field, if that still belongs to the stored one."""
    extra = info.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(body) > 5 and body[0] == 1:
            belongs = int.from_bytes(body[1:5], "little") == zlib.crc32(stored_bytes(info))
            return body[5:].decode() if belongs and _is_utf8(body[5:]) else None
    return None


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _sample(names: Iterable[str]) -> str:
    """The first folders and files of these names that ASCII does not suffice for."""
    parts = dict.fromkeys(
        part for name in names for part in name.replace("\\", "/").split("/") if not part.isascii()
    )
    text = ", ".join([*list(parts)[:SHOWN], *(["..."] if len(parts) > SHOWN else [])])
    return text if text.isprintable() else repr(text)


def _escaped(name: bytes) -> str:
    return repr(name)[1:].strip("'\"")
