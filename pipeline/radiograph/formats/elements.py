"""Elements of a DICOM header as numbers and as text that may be shown."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.charset import convert_encodings

from pipeline.errors import UnreadableError


def missing(keyword: str, remedy: str = "export it again") -> UnreadableError:
    """Return the error for a header without an element that nothing else tells."""
    return UnreadableError("header", f"has no {keyword}, which nothing else tells; {remedy}")


def whole_number(header: Dataset, keyword: str) -> int | None:
    """A whole number, or None where the file does not state it."""
    value = header.get(keyword)
    return None if value is None or value == "" else int(value)


def numbers(header: Dataset, keyword: str) -> list[float]:
    """All numbers of an element; raises UnreadableError for what is none."""
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return []
        found = [float(one) for one in ([value] if isinstance(value, (int, float, str)) else value)]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise UnreadableError("header", f"{keyword} is not a number; export it again")
    return found


def number(header: Dataset, keyword: str, default: float) -> float:
    """A number, the first where the file states several."""
    return next(iter(numbers(header, keyword)), default)


def words_of(value: Any, big_endian: bool = False) -> NDArray[np.uint16]:
    """Whole numbers of 16 bits as unsigned ones, whichever value representation they came in.

    Without one in the file, as with implicit representation, the same numbers may come as a list,
    signed or not, or as bytes.
    """
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) // 2 * 2], ">u2" if big_endian else "<u2").astype(
            np.uint16
        )
    return np.atleast_1d(np.asarray(value, np.int64)).astype(np.uint16)


def text(header: Dataset, keyword: str) -> str:
    """An element's text as a message may show it: upper case, one line, of 64 characters."""
    return plain(str(header.get(keyword) or "")).strip()


def spoken(header: Dataset, keyword: str) -> str:
    """An element's text in upper case without accents, whatever encoding it came in.

    pydicom decodes code strings as Latin, as they should be, and people write in their own letters.
    """
    said = str(header.get(keyword) or "").strip()
    declared = header.get("SpecificCharacterSet") or ""
    for encoding in (*(convert_encodings(declared) if declared else ()), "utf-8"):
        try:
            return bare(said.encode("iso8859-1").decode(encoding))
        except (UnicodeError, LookupError):
            continue
    return bare(said)


def plain(said: str) -> str:
    """Text of a header as a message may show it."""
    return re.sub(r"[^A-Z0-9 ,:/()_-]", "?", said.upper())[:64]


def bare(said: str) -> str:
    """Upper case without accents, in any script."""
    return without_accents(said.upper())


def without_accents(said: str) -> str:
    """Letters without the marks above and below them."""
    parts = unicodedata.normalize("NFKD", said)
    return "".join(part for part in parts if not unicodedata.combining(part))
