"""split.json: how many radiographs each split has, and how good the split is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import pandas as pd

from pipeline.artifacts import Artifact, StrictModel
from pipeline.dataset.splits.table import SPLITS
from pipeline.params import SplitParams

SPLIT_SUMMARY_FILE = Path("artifacts/split/split.json")
"""Below the project's root."""


class SplitCounts(StrictModel):
    """Radiographs in each split, their share, and how far it is from the share wanted."""

    train: int
    val: int
    test: int
    train_share: float
    val_share: float
    test_share: float
    train_deviation: float
    val_deviation: float
    test_deviation: float


class GroupSize(StrictModel):
    """How many groups have so many radiographs."""

    radiographs: int
    groups: int


class MixedGroup(StrictModel):
    """A group with more than one class or patient."""

    group: str
    """Its name, the smallest image_id."""
    radiographs: tuple[str, ...]
    """Image_ids, sorted."""


class SplitSummary(Artifact, SplitCounts):
    """The counts over all classes, those of each class, and the groups."""

    made_by: ClassVar[str] = "the stage split"

    classes: dict[str, SplitCounts]
    conventions: dict[str, SplitCounts]
    """The counts of each annotation convention, where there are several; else none."""
    train_expected: float
    """The share to be expected of these groups."""
    val_expected: float
    test_expected: float
    """Above split.test by what joined groups cost."""
    groups: int
    largest_group: int
    """Radiographs."""
    group_sizes: tuple[GroupSize, ...]
    groups_of_several_classes: tuple[MixedGroup, ...]
    groups_of_several_patients: tuple[MixedGroup, ...]
    merges: dict[str, int]
    """How many groups vanished by joining others, for each reason."""


def summarise_split(
    rows: pd.DataFrame, merges: dict[str, int], params: SplitParams
) -> SplitSummary:
    """The summary of rows of class_name, convention, split, group, position (0 to 1), patient."""
    wanted = {"train": 1 - params.val - params.test, "val": params.val, "test": params.test}
    sizes = rows["group"].value_counts()
    train, val, test = _expected(rows, params)
    return SplitSummary(
        **dict(_counts(rows["split"], wanted)),
        train_expected=train,
        val_expected=val,
        test_expected=test,
        classes=_counts_by(rows, "class_name", wanted),
        conventions=(
            _counts_by(rows, "convention", wanted) if rows["convention"].nunique() > 1 else {}
        ),
        groups=len(sizes),
        largest_group=int(sizes.max()),
        group_sizes=tuple(
            GroupSize(radiographs=size, groups=groups)
            for size, groups in sorted(Counter(sizes.tolist()).items())
        ),
        groups_of_several_classes=_groups_of_several(rows, "class_name"),
        groups_of_several_patients=_groups_of_several(rows[rows["patient"] != ""], "patient"),
        merges=merges,
    )


def _counts_by(rows: pd.DataFrame, column: str, wanted: dict[str, float]) -> dict[str, SplitCounts]:
    by_name = rows.groupby(column)["split"]
    return {str(name): _counts(splits, wanted) for name, splits in by_name}


def _counts(splits: pd.Series, wanted: dict[str, float]) -> SplitCounts:
    counts = {name: int((splits == name).sum()) for name in SPLITS}
    shares = {name: count / len(splits) for name, count in counts.items()}
    return SplitCounts.model_validate(
        {
            **counts,
            **{f"{name}_share": round(shares[name], 4) for name in SPLITS},
            **{f"{name}_deviation": round(shares[name] - wanted[name], 4) for name in SPLITS},
        }
    )


def _expected(rows: pd.DataFrame, params: SplitParams) -> tuple[float, float, float]:
    """Shares of train, val and test to be expected of these groups."""
    positions = rows.groupby("group")["position"].transform("nunique")
    test = 1 - float(((1 - params.test) ** positions).mean())
    train = float(((1 - params.test - params.val) ** positions).mean())
    return round(train, 4), round(1 - train - test, 4), round(test, 4)


def _groups_of_several(rows: pd.DataFrame, column: str) -> tuple[MixedGroup, ...]:
    """The groups with more than one value of `column`."""
    values = rows.groupby("group")[column].transform("nunique")
    return tuple(
        MixedGroup(group=str(name), radiographs=tuple(sorted(members["image_id"])))
        for name, members in rows[values > 1].groupby("group")
    )
