"""A sheet as rows by file name: merged cells and cells that say something only once are filled."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openpyxl.utils.exceptions import InvalidFileException

from pipeline.dataset.metadata.cells import Cells, Line, Unvalued, text_of
from pipeline.dataset.metadata.columns import (
    CONVENTION,
    FILE,
    PATIENT,
    SOURCE,
    STUDY,
    Columns,
    find_columns,
    looks_like_convention,
    looks_like_patient,
)
from pipeline.dataset.metadata.delimited import read_delimited
from pipeline.dataset.metadata.file_names import file_key
from pipeline.dataset.metadata.filling import Fills, fill_cells
from pipeline.dataset.metadata.unknown import is_unknown, is_word_of_nothing
from pipeline.dataset.metadata.workbook import read_workbook
from pipeline.errors import DatasetError

Row = dict[str, object]
"""Values by header, without those that are missing or unknown."""
READERS = {".xlsx": read_workbook, ".csv": read_delimited, ".tsv": read_delimited}
WHO = (PATIENT, STUDY, SOURCE)
"""What may be written once for several rows below each other."""
TOLD = (*WHO, CONVENTION)
"""What words such as `unknown` do not say, and what may stand in several columns."""
# What openpyxl and csv raise for a damaged file.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    InvalidFileException,
    LookupError,
    NotImplementedError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    AttributeError,
    csv.Error,
)


@dataclass(frozen=True)
class Sheet:
    """What a sheet says, and what of it could not be used."""

    columns: Columns
    """Those that are used."""
    rows: dict[str, Row]
    """By file name as it is written."""
    filled: int
    """Cells of patients, studies, sources and conventions that took the value of a cell above."""
    nameless: int
    """Lines that hold something and no file name."""
    formulas: int
    """Formulas without a value, in columns that nothing is read from."""
    beyond: int
    """Cells in columns without a header."""
    unused: tuple[str, ...]
    """Columns that look like a patient and are not read."""
    unused_conventions: tuple[str, ...]
    """Columns that look like a convention and are not read."""
    encoding: str
    """Of a text that is not UTF-8, else empty."""

    def value(self, row: Row, role: str) -> str:
        """What a row says in the best column of a role that it has a value in, else ""."""
        columns = self.columns.by_role.get(role, ())
        values = (text_of(row.get(self.columns.headers[column])) for column in columns)
        return next((value for value in values if value), "")


def read_sheet(path: Path, names: Mapping[str, Sequence[str]] | None = None) -> Sheet:
    """Read the sheet `path`; `names` are further headers by role.

    Rows of one file must agree where both have a value. Raises DatasetError, which begins with
    the path.
    """
    try:
        return _sheet(_read_cells(path), names or {})
    except DatasetError as error:
        raise DatasetError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _read_cells(path: Path) -> Cells:
    suffix = path.suffix.casefold()
    if suffix not in READERS:
        raise DatasetError("is of a kind that is not read; save it as .xlsx or .csv")
    try:
        return READERS[suffix](path)
    except UNREADABLE as error:
        why = " ".join(str(error).split())[:200]
        raise DatasetError(f"not readable as {suffix} ({why}); export it again") from None


def _sheet(cells: Cells, names: Mapping[str, Sequence[str]]) -> Sheet:
    columns = find_columns(cells, names)
    lines = {number: line for number, line in cells.lines.items() if number > columns.line}
    formulas = _take_out_formulas(lines, columns)
    groups = [] if cells.joined else [columns.by_role.get(role, ()) for role in WHO]
    fills = fill_cells(lines, cells.merged, groups, columns.by_role.get(CONVENTION, ()))
    named = {
        number: name for number, line in lines.items() if (name := text_of(line.get(columns.file)))
    }
    rows = _rows(lines, fills, named, columns)
    used = {
        role: _used(rows, columns, role) if role in WHO else found[:1]
        for role, found in columns.by_role.items()
    }
    if CONVENTION in used:
        used[CONVENTION] = _conventions(rows, columns)
    return Sheet(
        replace(columns, by_role=used),
        rows,
        filled=sum(len(fills.get(number, {})) for number in named),
        nameless=len(lines) - len(named),
        formulas=formulas,
        beyond=sum(column not in columns.headers for line in lines.values() for column in line),
        unused=_unused(rows, columns, {column for found in used.values() for column in found}),
        unused_conventions=tuple(
            header
            for column, header in columns.headers.items()
            if column not in used.get(CONVENTION, ())
            and looks_like_convention(header)
            and any(header in row for row in rows.values())
        ),
        encoding=cells.encoding,
    )


def _take_out_formulas(lines: dict[int, Line], columns: Columns) -> int:
    """Take out formulas without a value and count them; refuse those of what is read."""
    found = [
        (number, column)
        for number, line in lines.items()
        for column, value in line.items()
        if isinstance(value, Unvalued)
    ]
    for role in (FILE, *TOLD):
        for column in columns.by_role.get(role, ()):
            if count := sum(one == column for _, one in found):
                raise DatasetError(
                    f"{columns.headers[column]} has {count} formulas without a value; open the "
                    "sheet in a spreadsheet program, correct what fails there, and save it"
                )
    for number, column in found:
        del lines[number][column]
    return len(found)


def _rows(
    lines: Mapping[int, Line], fills: Fills, named: Mapping[int, str], columns: Columns
) -> dict[str, Row]:
    """The rows by file name. What a row says itself counts more than what it takes from above."""
    rows: dict[str, Row] = {}
    taken: dict[str, Row] = {}
    spelt: dict[str, str] = {}
    for number, text in named.items():
        name = spelt.setdefault(file_key(text), text)
        rows[name] = unite_rows(rows.get(name, {}), _row(lines[number], columns), name)
        filled = _row(fills.get(number, {}), columns)
        taken[name] = unite_rows(taken.get(name, {}), filled, name)
    file = columns.headers[columns.file]
    known = {name: {**taken[name], **row, file: name} for name, row in rows.items()}
    headers = columns.headers.values()
    return {
        name: {header: row[header] for header in headers if header in row}
        for name, row in known.items()
    }


def _row(line: Line, columns: Columns) -> Row:
    nothing = {
        column: is_word_of_nothing if role == CONVENTION else is_unknown
        for role in TOLD
        for column in columns.by_role.get(role, ())
    }
    return {
        columns.headers[column]: value
        for column, value in line.items()
        if column in columns.headers
        and column != columns.file
        and not (column in nothing and nothing[column](text_of(value)))
    }


def unite_rows(known: Row, row: Row, name: str) -> Row:
    """The values of both rows of the file `name`; raises DatasetError where two disagree."""
    united = dict(known)
    for header, value in row.items():
        before = united.setdefault(header, value)
        if text_of(before) != text_of(value):
            raise DatasetError(
                f"{name}: {header} is {value!r}, another row says {before!r}; correct one of them",
            )
    return united


def _used(rows: Mapping[str, Row], columns: Columns, role: str) -> tuple[int, ...]:
    """The best column of a role, and the further ones that some row needs, being empty there.

    A sheet that was made of two needs them. But where one names somebody whom other rows know by
    the best column, nobody can tell whether it is the same person: it is left out where the project
    says which column is right or patients are known anyway, else DatasetError.
    """
    decides = role == PATIENT or (role == STUDY and PATIENT not in columns.by_role)
    best, *others = columns.by_role[role]
    header = columns.headers[best]
    used = [best]
    for column in others:
        known: dict[str, set[str]] = {}
        alone = set()
        for row in rows.values():
            one, other = (text_of(row.get(columns.headers[each])) for each in (best, column))
            known.setdefault(other, set()).update({one} - {""})
            alone |= set() if one else {other} - {""}
        unclear = sorted(other for other in alone if known[other] - {other})
        if unclear and decides and role not in columns.chosen:
            raise DatasetError(
                f"{columns.headers[column]} {unclear[0]} is without {header} in one row and "
                f"{min(known[unclear[0]])} in another; complete {header}, or name the right column "
                f"in validate.{role}_columns of params.yaml"
            )
        if alone and not unclear:
            used.append(column)
    return tuple(used)


def _conventions(rows: Mapping[str, Row], columns: Columns) -> tuple[int, ...]:
    """All columns of the convention, the best one first: a sheet that was made of two needs them.

    Raises DatasetError where two of them differ, unless the project says which is right.
    """
    found = columns.by_role[CONVENTION]
    if CONVENTION in columns.chosen:
        return found
    headers = [columns.headers[column] for column in found]
    for name, row in rows.items():
        said = {header: text for header in headers if (text := text_of(row.get(header)))}
        if len(set(said.values())) > 1:
            both = " and ".join(f"{header} {text}" for header, text in said.items())
            raise DatasetError(
                f"{name}: found {both}, expected one convention; correct one of them, or name the "
                "right column in validate.convention_columns of params.yaml"
            )
    return found


def _unused(rows: Mapping[str, Row], columns: Columns, used: set[int]) -> tuple[str, ...]:
    """The columns that look like a patient and are not read; DatasetError when none is read."""
    further = set(columns.by_role.get(PATIENT, ()))
    alike = [
        header
        for column, header in columns.headers.items()
        if column not in used
        and any(header in row for row in rows.values())
        and (
            column in further
            or looks_like_patient(header, (text_of(row.get(header)) for row in rows.values()))
        )
    ]
    if alike and PATIENT not in columns.by_role:
        raise DatasetError(
            f"{', '.join(alike)} may say who the patient is, and no column is known to; name it in "
            "validate.patient_columns of params.yaml, or rename it if it says something else"
        )
    return tuple(alike)
