"""What the sheets of a dataset say of its radiographs, and what of it is lost, with its number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.conventions import SHEET, STANDARD
from pipeline.dataset.layout import (
    Listing,
    Quarantined,
    class_folders,
    conventions_class,
    list_sheets,
    refuse_unsafe,
    same_name,
    sheet_class,
    shown,
)
from pipeline.dataset.metadata.columns import (
    CONVENTION,
    PATIENT,
    SOURCE,
    SPACING,
    STUDY,
    letters,
)
from pipeline.dataset.metadata.file_names import match_names, refuse_rivals
from pipeline.dataset.metadata.sheet import Row, Sheet, read_sheet
from pipeline.errors import DatasetError
from pipeline.strays import is_stray

NAMED = 3
"""Names that a finding gives as examples."""
EXPECTED_NAME = "<class>.metadata.xlsx or .csv"
TABLES = {".csv", ".ods", ".tsv", ".xls", ".xlsm", ".xlsx"}
"""Suffixes of what may be a sheet."""


class Origin(NamedTuple):
    """What a sheet says of a radiograph."""

    source: str = ""
    patient: str = ""
    study: str = ""
    spacing: float = math.nan
    """Millimetres per pixel; NaN where there is no positive number."""
    convention: str = STANDARD
    """Of its mask."""
    convention_by: str = ""
    """Who says so: `sheet`, or of a file of conventions `import` or `person`; or nobody."""


@dataclass(frozen=True)
class SheetFinding:
    """Something of a sheet that is not used, or the refusal of one."""

    finding: str
    """A sentence that names the sheet."""
    kind: str
    """One of FINDINGS."""


REFUSED, CONVENTION_REFUSED = "refused", "refused_convention"
STOPPING = (REFUSED, CONVENTION_REFUSED)
"""The kinds of findings that stop a run."""
FINDINGS = {
    REFUSED: "a sheet cannot be used, so the patients of its class are not known",
    CONVENTION_REFUSED: "what is said of annotation conventions cannot be used",
    "rows_without_file": "rows of a sheet name no radiograph",
    "lines_without_name": "lines of a sheet hold something and name no file",
    "files_without_row": "radiographs are not in the sheet of their class",
    "without_patient": "rows of a sheet with patients name none",
    "unused_columns": "columns that look like a patient or a convention are not read",
    "missing_columns": "columns that params.yaml names are in no sheet",
    "formulas_without_value": "formulas have no value",
    "cells_without_header": "cells stand in columns without a header",
    "unread_tables": "tables beside the classes are not read",
    "stale_conventions": "recorded conventions are of masks that changed since",
    "conventions_without_pair": "recorded conventions are of no pair",
    "overruled_conventions": "an import recorded other conventions than a sheet says",
}
"""The kinds of findings and what each means."""


@dataclass
class Origins:
    """What is known of the radiographs, and how much was found of what."""

    by_image_id: dict[str, Origin] = field(default_factory=dict)
    refused: list[Quarantined] = field(default_factory=list)
    """Sheets that cannot be used."""
    findings: list[SheetFinding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Sheets, rows, patients, filled cells, and what FINDINGS counts."""
    lines: list[str] = field(default_factory=list)
    """A line on each sheet that is used."""
    sheets: dict[str, str] = field(default_factory=dict)
    """The sheet of each class that has one, by its name."""
    telling: set[str] = field(default_factory=set)
    """The classes whose sheet has a column of conventions."""

    def note(self, kind: str, count: int, sentence: str) -> None:
        """Count something and say it; nothing where there is none."""
        self.counts[kind] += count
        if count:
            self.findings.append(SheetFinding(shown(sentence), kind))


def read_origins(
    data: Path, listing: Listing, names: Mapping[str, Sequence[str]] | None = None
) -> Origins:
    """Read the sheets below `data`, whose files `listing` lists; `names` are further headers.

    A class without a sheet is normal. A sheet that must not be opened, cannot be read, names no
    radiograph of its class or is its second one is refused as `metadata`, and gives nothing.
    """
    found = Origins()
    headers: set[str] = set()
    files = _files(listing)
    for path in list_sheets(data):
        try:
            refuse_unsafe(path)
            class_name, names_of_files = _class_of(path.name, data, files)
            if other := found.sheets.get(class_name):
                raise DatasetError(f"{other} is a sheet of this class too; join them")
            found.sheets[class_name] = path.name
            sheet = read_sheet(path, names)
            _take(sheet, path.name, class_name, names_of_files, found)
            headers |= {letters(header) for header in sheet.columns.headers.values()}
        except DatasetError as error:
            message = str(error).removeprefix(f"{shown(str(path))}: ")
            found.refused.append(Quarantined.of_message("", shown(path.name), "metadata", message))
            found.note(REFUSED, 1, f"{path.name}: {message}")
    missing = [] if found.refused else _missing(names or {}, headers)
    found.note(
        "missing_columns",
        len(missing),
        f"columns that params.yaml names and no sheet has: {some(missing)}; correct them there",
    )
    unread = _unread_tables(data)
    found.note(
        "unread_tables",
        len(unread),
        f"tables that are not read: {len(unread)} ({some(unread)}); name them {EXPECTED_NAME}",
    )
    return found


def _missing(names: Mapping[str, Sequence[str]], headers: set[str]) -> list[str]:
    return [
        f"{name!r} of validate.{role}_columns"
        for role, wanted in names.items()
        for name in wanted
        if letters(name) not in headers
    ]


def _files(listing: Listing) -> dict[str, list[str]]:
    """The names of radiographs by class, those that are set aside included."""
    names: dict[str, set[str]] = {}
    image_ids = [pair.image_id for pair in listing.pairs]
    for image_id in [*image_ids, *(one.image_id for one in listing.refused)]:
        class_name, slash, name = image_id.partition("/")
        if slash:
            names.setdefault(class_name, set()).add(name)
    return {class_name: sorted(found) for class_name, found in names.items()}


def _class_of(sheet: str, data: Path, files: Mapping[str, list[str]]) -> tuple[str, list[str]]:
    """The class of a sheet: of just its name, or the only one that differs from it by case only."""
    wanted = sheet_class(sheet) or ""
    folders = [folder.name for folder in class_folders(data)]
    found = [one for one in folders if one == wanted] or [
        one for one in folders if same_name(one) == same_name(wanted)
    ]
    if not found:
        raise DatasetError("there is no class of this name; rename the sheet")
    if len(found) > 1:
        raise DatasetError(f"may be of {' or '.join(found)}; rename the sheet")
    return found[0], files.get(found[0], [])


def _unread_tables(data: Path) -> list[str]:
    return sorted(
        shown(path.name)
        for path in data.iterdir()
        if is_table(path.name) and path.is_file() and not is_stray(path.name)
    )


def is_table(name: str) -> bool:
    """Whether a file of this name may be a table, and is no sheet that is read."""
    known = sheet_class(name) or conventions_class(name)
    return Path(name).suffix.casefold() in TABLES and known is None


def _take(sheet: Sheet, label: str, class_name: str, files: Sequence[str], found: Origins) -> None:
    """Take over what a sheet says, and note what it does not."""
    matched = _matched(sheet, class_name, files)
    origins = {name: _origin(sheet, sheet.rows[name]) for name in matched}
    found.by_image_id.update(
        (f"{class_name}/{file}", origins[name]) for name, file in matched.items()
    )
    found.telling |= {class_name} if CONVENTION in sheet.columns.by_role else set()
    patients = {one.patient for one in origins.values()} - {""}
    lost = [name for name in sheet.rows if name not in matched]
    rowless = sorted(set(files) - set(matched.values()))
    unknown = [name for name, one in origins.items() if patients and not one.patient]
    unread = "and are not read; name the right one in validate.convention_columns of params.yaml"
    for kind, what, names in (
        ("rows_without_file", "rows that name no radiograph", lost),
        ("files_without_row", "radiographs without a row", rowless),
        ("without_patient", "rows without a patient", unknown),
        ("unused_columns", "columns that look like a patient and are not read", sheet.unused),
        (
            "unused_columns",
            f"columns that look like a convention {unread}",
            sheet.unused_conventions,
        ),
    ):
        found.note(kind, len(names), f"{label}: {what}: {len(names)} ({some(names)})")
    for kind, (what, count) in _counted(sheet).items():
        found.note(kind, count, f"{label}: {what}: {count}")
    counts = {
        "sheets": 1,
        "rows": len(sheet.rows),
        "rows_with_file": len(matched),
        "patients": len(patients),
        "filled_cells": sheet.filled,
    }
    found.counts.update(counts)
    read_as = f", read as {sheet.encoding}" if sheet.encoding else ""
    found.lines.append(
        f"{label}: rows {len(sheet.rows)}, with a radiograph {len(matched)}, patients "
        f"{len(patients)}, empty cells that took the value above {sheet.filled}{read_as}"
    )


def _matched(sheet: Sheet, class_name: str, files: Sequence[str]) -> dict[str, str]:
    """The file of each row that has one; raises DatasetError when none has, or it is not clear."""
    matched = match_names(sheet.rows, files, class_name)
    refuse_rivals(matched, files, class_name)
    if not matched:
        raise DatasetError(
            f"none of its {len(sheet.rows)} rows names a radiograph of the class: found "
            f"{some(list(sheet.rows)) or 'none'}, expected names such as "
            f"{some(files) or 'none'}; correct the names"
        )
    return matched


def _counted(sheet: Sheet) -> dict[str, tuple[str, int]]:
    return {
        "lines_without_name": ("lines without a file name", sheet.nameless),
        "formulas_without_value": ("formulas without a value", sheet.formulas),
        "cells_without_header": ("cells in columns without a header", sheet.beyond),
    }


def delivered_losses(
    path: Path, data: Path, listing: Listing, names: Mapping[str, Sequence[str]] | None
) -> list[str]:
    """What a sheet holds that is gone, or decided, once it is joined with that of `data`.

    A line each. Raises DatasetError when the sheet names no radiograph of its class.
    """
    sheet = read_sheet(path, names)
    try:
        _matched(sheet, *_class_of(path.name, data, _files(listing)))
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    lost = {**_counted(sheet), "filled": ("empty cells that took the value above", sheet.filled)}
    return [f"delivered {path.name}: {what}: {count}" for what, count in lost.values() if count]


def _origin(sheet: Sheet, row: Row) -> Origin:
    convention = sheet.value(row, CONVENTION)
    return Origin(
        sheet.value(row, SOURCE),
        sheet.value(row, PATIENT),
        sheet.value(row, STUDY),
        _spacing(sheet.value(row, SPACING)),
        convention or STANDARD,
        SHEET if convention else "",
    )


def _spacing(text: str) -> float:
    """A number above 0, as a spacing of 0 occurs and means that it is not known."""
    try:
        spacing = float(text)
    except ValueError:
        return math.nan
    return spacing if 0 < spacing < math.inf else math.nan


def some(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return shown(", ".join(names[:NAMED])) + more
