"""Tables that cross between rooms as files: columns with names and types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import pandas as pd

from pipeline.artifacts import missing_artifact, unusable_artifact
from pipeline.files import atomic_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

TEXT, COUNT, NUMBER = "str", "int64", "float64"
"""The types of a table's columns."""
KINDS_OF_COLUMNS = {str: TEXT, int: COUNT, float: NUMBER}


def columns_of(row: type[DataclassInstance]) -> dict[str, str]:
    """The columns of a table whose rows are these dataclasses: a field of text or number each."""
    kinds = get_type_hints(row)
    return {field.name: KINDS_OF_COLUMNS[kinds[field.name]] for field in fields(row)}


def table_of(rows: Iterable[DataclassInstance], columns: Mapping[str, str]) -> pd.DataFrame:
    """A table of these rows; one without rows has its columns and their types too."""
    given = [vars(row) for row in rows]
    return pd.DataFrame(given, columns=list(columns)).astype(dict(columns))


def rows_of(table: pd.DataFrame, kind: type[Row]) -> list[Row]:
    """The rows of a table, each as a `kind`; other columns are left out."""
    names = [field.name for field in fields(kind)]
    columns: list[list[Any]] = [table[name].tolist() for name in names]
    return [kind(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class TableFile:
    """A table as a Parquet or CSV file, told by its suffix: named columns, each of one type."""

    columns: Mapping[str, str]
    """Name -> TEXT, COUNT or NUMBER, in order."""
    made_by: str
    """The stage that writes it."""

    def read(self, path: Path) -> pd.DataFrame:
        """The table; raises StageError when it is missing or has not just these columns."""
        try:
            found = self._load(path)
        except FileNotFoundError:
            raise missing_artifact(path, self.made_by) from None
        except (OSError, ValueError) as error:
            raise unusable_artifact(path, self.made_by, str(error)) from None
        if list(found.columns) != list(self.columns):
            differing = sorted(set(found.columns) ^ set(self.columns)) or list(found.columns)
            raise unusable_artifact(
                path, self.made_by, f"columns differ in {', '.join(map(str, differing))}"
            )
        try:
            return found.astype(dict(self.columns))
        except (TypeError, ValueError) as error:
            raise unusable_artifact(path, self.made_by, str(error)) from None

    def _load(self, path: Path) -> pd.DataFrame:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        # Text is kept as it is: a class may be called NA.
        text = {name: kind for name, kind in self.columns.items() if kind == TEXT}
        numbers = {name: [""] for name in self.columns if name not in text}
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=numbers)

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write these columns of `table`; raises KeyError when one is missing."""
        chosen = table[list(self.columns)].astype(dict(self.columns))
        with atomic_path(path) as partial:
            if path.suffix == ".parquet":
                chosen.to_parquet(partial, index=False)
            else:
                chosen.to_csv(partial, index=False, lineterminator="\n")
