"""Reading the cells of a text table (.csv, .tsv): its encoding and its separator are found out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median_low

from pipeline.dataset.metadata.cells import MAX_CELLS, MAX_LINES, Cells, Line, TooLargeError

MAX_BYTES = 64 * 2**20
SEPARATORS = ",;\t|"
LOOKED_AT = 10
"""Lines that tell the separator."""
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte order marks."""
CYRILLIC = ("cp1251", "cp866", "koi8-r")
"""As Windows, its console and Unix write Russian in one byte a letter."""
WORD = re.compile(rb"[\x80-\xff]{3,}")
"""Three letters beyond ASCII in a row: seldom in Latin script."""
COMMON = frozenset("оеаинтсрвл")
"""Two thirds of the letters of a Russian text."""
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What no workbook can hold, and counts as white space."""
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""With which Excel says how the lines below are separated."""


def read_delimited(path: Path) -> Cells:
    """The cells of a text table; raises ValueError, UnicodeError or csv.Error."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TooLargeError(f"more than {MAX_BYTES >> 20} MiB")
    if content.startswith(b"PK"):
        raise ValueError("it is a zip, as .xlsx is")
    encoding = _encoding(content)
    text = content.decode(encoding)
    if "\0" in text:
        raise ValueError("it holds bytes that no text has")
    lines = {number: line for number, line in _lines(CONTROL.sub(" ", text)) if line}
    return Cells(lines, encoding="" if encoding.startswith("utf") else encoding)


def _encoding(content: bytes) -> str:
    for mark, name in MARKS.items():
        if content.startswith(mark):
            return name
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _code_page(content)
    return "utf-8"


def _code_page(content: bytes) -> str:
    """Of a text in one byte a letter. In each of them different bytes are different letters."""
    words = b"".join(WORD.findall(content))
    if not words:
        return "latin-1"
    russian = {name: _russian(words.decode(name, "replace")) for name in CYRILLIC}
    return max(russian, key=lambda name: russian[name])


def _russian(text: str) -> int:
    # Lower case: KOI8-R read as CP1251 gives the letters of Russian in the other case.
    return sum(letter in COMMON for letter in text)


def _lines(text: str) -> Iterator[tuple[int, Line]]:
    said = SEPARATOR_LINE.match(text)
    body = text[said.end() :] if said else text
    separator = said[1] if said else _separator(body)
    cells = 0
    # Strict: a quote that is never closed would swallow the lines below it.
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    for number, values in enumerate(reader, 2 if said else 1):
        line: Line = {
            column: value.strip() for column, value in enumerate(values, 1) if value.strip()
        }
        cells += len(values)
        if number > MAX_LINES or cells > MAX_CELLS:
            raise TooLargeError(f"more than {MAX_LINES} lines or {MAX_CELLS} cells")
        yield number, line


def _separator(text: str) -> str:
    """What stands in most of the first lines, outside of quotes, and then in the first of them."""
    lines = list(islice((line for line in io.StringIO(text) if line.strip()), LOOKED_AT))
    unquoted = [re.sub(r'"[^"]*"', "", line) for line in lines] or [""]

    def frequency(mark: str) -> tuple[int, int]:
        counts = [line.count(mark) for line in unquoted]
        return median_low(counts), counts[0]

    return max(SEPARATORS, key=frequency)
