"""The sheets `<class>.metadata.xlsx`: reading them and adding the rows of a delivery."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from pipeline.dataset.zips import checked_members
from pipeline.errors import DatasetError

KEY = "FILE NAME"
Row = dict[str, object]
# What openpyxl raises for a damaged workbook.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    InvalidFileException,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)


def read_sheet(path: Path) -> dict[str, Row]:
    """The rows of the workbook's only sheet by file name; raises DatasetError."""
    header, *lines = _lines(path) or [()]
    columns = [str(cell).strip() for cell in header]
    if KEY not in columns or len(set(columns)) < len(columns):
        raise DatasetError(
            f"{path}: columns are {', '.join(columns) or 'missing'}; expected {KEY!r} and others, "
            "each named once",
        )
    rows: dict[str, Row] = {}
    for line in lines:
        row = dict(zip(columns, line, strict=True))
        if row[KEY] is None:
            raise DatasetError(f"{path}: a row has no {KEY!r}; complete or remove it")
        name = str(row[KEY])
        rows[name] = _union(rows.get(name, {}), row, path)
    return rows


def _lines(path: Path) -> list[tuple[Any, ...]]:
    """The lines and columns that hold anything."""
    try:
        with zipfile.ZipFile(path) as opened:
            checked_members(opened, path)
        with warnings.catch_warnings():
            # openpyxl warns of styles and extensions that it leaves out; only values matter here.
            warnings.simplefilter("ignore", UserWarning)
            workbook = load_workbook(path, data_only=True)
    except UNREADABLE as error:
        raise DatasetError(f"{path}: not readable as .xlsx ({error}); export it again") from None
    if len(workbook.worksheets) != 1:
        raise DatasetError(f"{path}: has {len(workbook.sheetnames)} sheets, expected one")
    columns = [
        column
        for column in workbook.worksheets[0].iter_cols(values_only=True)
        if any(cell is not None for cell in column)
    ]
    lines = zip(*columns, strict=True)
    return [line for line in lines if any(cell is not None for cell in line)]


def _union(known: Row, row: Row, path: Path) -> Row:
    """The values of both, of which no two disagree; None is no value."""
    merged = dict(known)
    for column, value in row.items():
        if value is None:
            continue
        before = merged.setdefault(column, value)
        if str(before) != str(value):
            raise DatasetError(
                f"{path}: {row[KEY]}: {column} is {value!r}, another row says {before!r}; "
                "correct one of them",
            )
    return merged


def merge_sheets(former: Path, delivered: Path, target: Path) -> bool:
    """Write the rows of both sheets to `target`; False when `former` holds them all already.

    Rows of one file name must agree where both have a value (DatasetError).
    """
    before = read_sheet(former)
    rows = dict(before)
    for name, row in read_sheet(delivered).items():
        rows[name] = _union(rows.get(name, {}), row, delivered)
    if rows == before:
        return False
    _write_sheet(target, rows)
    return True


def _write_sheet(path: Path, rows: dict[str, Row]) -> None:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("Sheet1")
    sheet.append(columns)
    for row in rows.values():
        sheet.append([row.get(column) for column in columns])
    buffer = BytesIO()
    workbook.save(buffer)
    path.unlink(missing_ok=True)
    path.write_bytes(_without_time(buffer))


def _without_time(workbook: BytesIO) -> bytes:
    """The same workbook without its date, so that equal rows give equal bytes."""
    timeless = BytesIO()
    with zipfile.ZipFile(workbook) as source, zipfile.ZipFile(timeless, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"1980-01-01T00:00:00Z", content)
            member = zipfile.ZipInfo(info.filename)
            target.writestr(member, content, zipfile.ZIP_DEFLATED)
    return timeless.getvalue()
