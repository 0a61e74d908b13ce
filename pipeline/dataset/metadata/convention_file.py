"""`<class>.conventions.csv`: to which convention masks are drawn, pair by pair, and on whose word.

A row holds for the mask of just these bytes: a mask that was drawn anew may be of another one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pipeline.conventions import IMPORT, PERSON
from pipeline.dataset.layout import (
    CONVENTIONS_SUFFIX,
    LONGEST_NAME,
    conventions_class,
    list_convention_files,
    refuse_unsafe,
)
from pipeline.errors import DatasetError
from pipeline.files import write_csv

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ConventionRow:
    """What is recorded of a pair."""

    name: str
    """Of the pair, without its class."""
    mask_sha256: str
    """Of the file of the mask that the row is about."""
    convention: str
    by: str
    """IMPORT or PERSON."""


COLUMNS = [field.name for field in fields(ConventionRow)]
REMEDY = (
    "correct it, or remove the file and record its conventions again with `lungseg data "
    "convention`, then `dvc add data`"
)


def read_convention_rows(path: Path) -> list[ConventionRow]:
    """The rows of the file.

    Raises DatasetError, which begins with the path, for a damaged one and for one that must not be
    opened.
    """
    refuse_unsafe(path)
    try:
        text = path.read_bytes().decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeError, csv.Error) as error:
        raise _damaged(path, " ".join(str(error).split())[:160]) from None
    if not lines or lines[0] != COLUMNS:
        raise _damaged(path, f"columns are {', '.join(lines[0])[:160] if lines else 'missing'}")
    rows: dict[str, ConventionRow] = {}
    for number, line in enumerate(lines[1:], 2):
        row = _row(path, number, line)
        if row.name in rows:
            raise DatasetError(
                f"{path}: names {row.name} twice, expected each pair once; remove one of its "
                "lines, then `dvc add data`"
            )
        rows[row.name] = row
    return list(rows.values())


def _row(path: Path, number: int, line: list[str]) -> ConventionRow:
    if len(line) != len(COLUMNS):
        raise _damaged(path, f"line {number} has {len(line)} cells")
    row = ConventionRow(*line)
    if not row.name or not SHA256.fullmatch(row.mask_sha256) or row.by not in (IMPORT, PERSON):
        raise _damaged(path, f"line {number} is {','.join(line)[:120]}")
    return row


def _damaged(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"{path}: {found}, expected lines of {', '.join(COLUMNS)} as `lungseg data convention` "
        f"writes them; {REMEDY}"
    )


def recorded_conventions(data: Path) -> dict[str, ConventionRow]:
    """What all files below `data` record, by image_id; raises DatasetError for an unusable one."""
    files = list_convention_files(data) if data.is_dir() else []
    for second, first in second_files(path.name for path in files).items():
        raise DatasetError(f"{data / second}: {second_of_class(first)}")
    return {
        f"{conventions_class(path.name)}/{row.name}": row
        for path in files
        for row in read_convention_rows(path)
    }


def second_files(names: Iterable[str]) -> dict[str, str]:
    """The names of files of conventions that are the second of their class, each with the first."""
    first: dict[str | None, str] = {}
    of_class = {name: first.setdefault(conventions_class(name), name) for name in sorted(names)}
    return {name: one for name, one in of_class.items() if name != one}


def second_of_class(first: str) -> str:
    """What is wrong with the second file of a class, and what to do."""
    return f"{first} is of this class too, expected one file; join them"


def write_recorded(data: Path, recorded: Mapping[str, ConventionRow]) -> bool:
    """Make the files below `data` say just this, by image_id; whether that changes any.

    A file that may be a link is replaced, never written through.
    """
    before = {path.name: path for path in list_convention_files(data)}
    by_class: dict[str, list[ConventionRow]] = {}
    for image_id, row in sorted(recorded.items()):
        by_class.setdefault(image_id.partition("/")[0], []).append(row)
    wanted = {f"{name}{CONVENTIONS_SUFFIX}": rows for name, rows in by_class.items()}
    changed = [
        name for name, rows in wanted.items() if name not in before or not _says(before[name], rows)
    ]
    for name in changed:
        _refuse_long(name)
        write_csv(data / name, COLUMNS, map(asdict, wanted[name]))
    gone = before.keys() - wanted.keys()
    for name in gone:
        before[name].unlink()
    return bool(changed or gone)


def _says(path: Path, rows: Iterable[ConventionRow]) -> bool:
    try:
        return read_convention_rows(path) == list(rows)
    except DatasetError:
        return False


def _refuse_long(name: str) -> None:
    if (length := len(name.encode())) > LONGEST_NAME:
        raise DatasetError(
            f"{name}: a name of {length} bytes, expected at most {LONGEST_NAME}; shorten the name "
            "of the class"
        )
