"""Tables that cross between rooms as files: columns with names and types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.artifacts import missing, unusable
from pipeline.files import atomic_path

TEXT, COUNT, NUMBER = "str", "int64", "float64"
"""The types of a table's columns."""


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
            raise missing(path, self.made_by) from None
        except (OSError, ValueError) as error:
            raise unusable(path, self.made_by, str(error)) from None
        if list(found.columns) != list(self.columns):
            differing = sorted(set(found.columns) ^ set(self.columns)) or list(found.columns)
            raise unusable(
                path, self.made_by, f"columns differ in {', '.join(map(str, differing))}"
            )
        try:
            return found.astype(dict(self.columns))
        except (TypeError, ValueError) as error:
            raise unusable(path, self.made_by, str(error)) from None

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
