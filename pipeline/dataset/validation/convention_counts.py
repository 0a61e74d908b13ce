"""How many pairs are drawn to which annotation convention, where a dataset has several."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.conventions import IMPORT, PERSON, SHEET, in_order
from pipeline.params import ValidateParams
from pipeline.table_files import columns_of, table_of

SAID_BY = {SHEET: "sheet", IMPORT: "import", PERSON: "person", "": "nobody"}
"""Words for who says so."""


@dataclass(frozen=True)
class ConventionCount:
    """The pairs of a class that are drawn to one convention."""

    class_name: str
    convention: str
    pairs: int
    lung_area: float
    """Median, as a share of the mask."""
    said_by: str
    """Who says so, with numbers of pairs."""


def count_conventions(manifest: pd.DataFrame) -> dict[str, int]:
    """Pairs by convention, where there are several; else none."""
    counts = Counter(manifest["convention"])
    return {name: counts[name] for name in in_order(counts)} if len(counts) > 1 else {}


def total_conventions(manifest: pd.DataFrame) -> pd.DataFrame:
    """The same as a table of convention and pairs."""
    return pd.DataFrame(count_conventions(manifest).items(), columns=["convention", "pairs"])


def tabulate_conventions(manifest: pd.DataFrame) -> pd.DataFrame:
    """A ConventionCount for each class and convention of it; without rows where there is one."""
    if not count_conventions(manifest):
        return table_of([], columns_of(ConventionCount))
    rows = [
        _count(str(name), convention, pairs[pairs["convention"] == convention])
        for name, pairs in manifest.groupby("class_name")
        for convention in in_order(pairs["convention"])
    ]
    return table_of(rows, columns_of(ConventionCount))


def _count(class_name: str, convention: str, pairs: pd.DataFrame) -> ConventionCount:
    by = Counter(pairs["convention_by"])
    said = ", ".join(f"{word} {by[one]}" for one, word in SAID_BY.items() if by[one])
    area = float(pairs["lung_area"].median())
    return ConventionCount(class_name, convention, len(pairs), area, said)


def convention_expectations(params: ValidateParams) -> list[Any]:
    """What Great Expectations expects of a table of convention and pairs; critical."""
    from great_expectations import expectations as gxe

    fewest = params.min_pairs_per_class
    means = (
        f"fewer than validate.min_pairs_per_class={fewest} pairs in an annotation convention; "
        "bring more, or record another one with `lungseg data convention`"
    )
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="pairs",
            min_value=fewest,
            severity="critical",
            meta={"means": means},
            description=f"Stops the run if: {means}",
        )
    ]
