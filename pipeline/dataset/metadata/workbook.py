"""Reading the cells of a workbook (.xlsx), one line after the other.

openpyxl's worksheets hold a cell for every place up to the last one that is used: a stray cell at
XFD300000 costs minutes and 600 MB. Its parser of single lines does not; what is around them is read
here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook
from openpyxl.utils import range_boundaries
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, VALUE_TAG, WorkSheetParser
from openpyxl.xml.constants import SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from pipeline.dataset.metadata.cells import (
    MAX_CELLS,
    MAX_LINES,
    Cells,
    Line,
    Merged,
    TooLargeError,
    Unvalued,
)
from pipeline.dataset.zips import checked_members
from pipeline.errors import DatasetError

MAX_BYTES = 128 * 2**20
"""Of a workbook, unpacked."""
MERGED_TAG = f"{{{SHEET_MAIN_NS}}}mergeCell"
JOINED = datetime(1980, 1, 1)
"""When the sheets that `merging` writes were created and modified, whenever that was."""
OF_CELLS = {f"{{{SHEET_MAIN_NS}}}{name}" for name in ("c", "v", "f", "is", "t", "r", "rPr", "rPh")}
"""Elements within a line, which are needed until its end."""


def read_workbook(path: Path) -> Cells:
    """The cells of the only sheet that holds any.

    Raises DatasetError for several such sheets, and what openpyxl raises for a damaged workbook.
    """
    with path.open("rb") as file:
        with ZipFile(file) as opened:
            size = sum(one.info.file_size for one in checked_members(opened, path))
        if size > MAX_BYTES:
            raise TooLargeError(f"{size / 2**20:.0f} MiB unpacked, more than {MAX_BYTES >> 20}")
        with warnings.catch_warnings():
            # openpyxl warns of styles and extensions that it leaves out; only values matter here.
            warnings.simplefilter("ignore", UserWarning)
            workbook = load_workbook(file, read_only=True, data_only=True)
            filled = [cells for sheet in workbook.worksheets if (cells := _cells(sheet)).lines]
    if len(filled) > 1:
        raise DatasetError(
            f"{path}: has {len(filled)} sheets that are not empty, expected one; remove the others",
        )
    cells = filled[0] if filled else Cells()
    said = workbook.properties
    cells.joined = said.creator == "openpyxl" and {said.created, said.modified} == {JOINED}
    return cells


def _cells(sheet: Any) -> Cells:
    book = sheet.parent
    found, seen, lines = Cells(), 0, 0
    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for _, element in iterparse(source):
            if element.tag in OF_CELLS:
                continue
            if element.tag == ROW_TAG:
                lines, seen = lines + 1, seen + len(element)
                _refuse_endless(lines, seen)
                number, line = _line(parser, element)
                if line:
                    found.lines.setdefault(number, {}).update(line)
            elif element.tag == MERGED_TAG:
                left, top, right, bottom = range_boundaries(element.get("ref", ""))
                if left and top and right and bottom:
                    found.merged.append(Merged(top, bottom, left, right))
                _refuse_endless(len(found.merged), seen)
            element.clear()
    found.lines = dict(sorted(found.lines.items()))
    return found


def _refuse_endless(lines: int, cells: int) -> None:
    if lines > MAX_LINES or cells > MAX_CELLS:
        raise TooLargeError(f"more than {MAX_LINES} lines or {MAX_CELLS} cells")


def _line(parser: Any, element: Any) -> tuple[int, Line]:
    number, cells = parser.parse_row(element)
    return number, dict(_values(cells, element))


def _values(cells: Any, elements: Any) -> Iterator[tuple[int, object]]:
    """The values of a line by column, without the empty ones."""
    for cell, element in zip(cells, elements, strict=True):
        value = cell["value"]
        # A text, even an empty one, is a value; else an empty value was never calculated.
        text = element.get("t") == "str" and element.find(VALUE_TAG) is not None
        if element.find(FORMULA_TAG) is not None and value is None and not text:
            value = Unvalued.FORMULA
        if cell["data_type"] == "e" and value != "#N/A":
            value = Unvalued.FORMULA
        if value is not None and str(value).strip():
            yield cell["column"], value
