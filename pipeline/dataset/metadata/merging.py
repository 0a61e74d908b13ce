"""Adding the rows of a delivered sheet to those of the dataset."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell

from pipeline.dataset.layout import sheet_class
from pipeline.dataset.metadata.file_names import match_names
from pipeline.dataset.metadata.folding import letters_and_digits
from pipeline.dataset.metadata.sheet import WHO, Row, Sheet, read_sheet, unite_rows
from pipeline.errors import DatasetError

NOBODY = "unknown"
"""Written where a row says nothing: an empty cell would take the value of the row above."""
LONGEST_TEXT = 32_767
"""Characters that a cell of a workbook holds; openpyxl would cut off the rest."""


def merge_sheets(
    former: Path, delivered: Path, target: Path, names: Mapping[str, Sequence[str]] | None = None
) -> bool:
    """Write the rows of both sheets to `target`; False when `former` holds them all already.

    Rows of one file must agree where both have a value, and a text must fit into a cell
    (DatasetError); a name of a delivered row means a former one as it would mean a file. Columns
    whose headers have the same letters and digits are one, and so are those that name the files.
    `target` is written as .xlsx.
    """
    before = read_sheet(former, names)
    after = read_sheet(delivered, names)
    rows = dict(before.rows)
    try:
        known_as = match_names(after.rows, before.rows, sheet_class(former.name) or "")
    except DatasetError as error:
        raise DatasetError(f"{delivered}: beside the sheet of data/ {error}") from None
    headers = _headers(before, after)
    for name, row in after.rows.items():
        own = known_as.get(name, name)
        known = {headers[header]: value for header, value in row.items()}
        known[before.columns.headers[before.columns.file]] = own
        try:
            rows[own] = unite_rows(rows.get(own, {}), known, own)
        except DatasetError as error:
            raise DatasetError(f"{delivered}: {error}") from None
    if rows == before.rows:
        return False
    who = {
        headers.get(sheet.columns.headers[column], sheet.columns.headers[column])
        for sheet in (before, after)
        for role in WHO
        for column in sheet.columns.by_role.get(role, ())
    }
    texts = (text for row in rows.values() for text in row.values() if isinstance(text, str))
    longest = max(texts, key=len, default="")
    if len(longest) > LONGEST_TEXT:
        raise DatasetError(
            f"{delivered}: joined with the sheet of data/ it has a text of {len(longest)} "
            f"characters ({longest[:20]!r}...), expected at most {LONGEST_TEXT} as in .xlsx; "
            "shorten it"
        )
    _write_sheet(target, rows, who)
    return True


def _headers(former: Sheet, delivered: Sheet) -> dict[str, str]:
    """The header of each delivered column, as the former sheet spells it."""
    known = former.columns.headers.values()
    spelt = {_spelling(header): header for header in known}
    headers: dict[str, str] = {}
    for header in sorted(delivered.columns.headers.values(), key=lambda one: one not in known):
        same = header if header in known else spelt.get(_spelling(header), header)
        headers[header] = header if same in headers.values() else same
    file = delivered.columns.headers[delivered.columns.file]
    return {**headers, file: former.columns.headers[former.columns.file]}


def _spelling(header: str) -> str:
    return letters_and_digits(header) or header


def _write_sheet(path: Path, rows: dict[str, Row], who: set[str]) -> None:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("Sheet1")
    sheet.append([_cell(sheet, column) for column in columns])
    for row in rows.values():
        values = [row.get(column, NOBODY if column in who else None) for column in columns]
        sheet.append([_cell(sheet, value) for value in values])
    buffer = BytesIO()
    workbook.save(buffer)
    path.unlink(missing_ok=True)
    path.write_bytes(_without_time(buffer))


def _cell(sheet: Any, value: object) -> object:
    """What is appended for a value: of a text a cell, as openpyxl takes `=1` for a formula."""
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = "s"
    return cell


def _without_time(workbook: BytesIO) -> bytes:
    """The same workbook without its date, so that equal rows give equal bytes.

    By that it is known for one of these (`workbook.JOINED`), those of version 0.3 included, which
    left cells empty where a row says nothing.
    """
    timeless = BytesIO()
    with zipfile.ZipFile(workbook) as source, zipfile.ZipFile(timeless, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"1980-01-01T00:00:00Z", content)
            member = zipfile.ZipInfo(info.filename)
            target.writestr(member, content, zipfile.ZIP_DEFLATED)
    return timeless.getvalue()
