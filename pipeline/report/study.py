"""What a reader of a study wants to know of this one, as far as the run knows it.

The items are those of CLAIM (Tejani 2024, doi 10.1148/ryai.240300) and TRIPOD+AI (Collins 2024, doi
10.1136/bmj-2023-078378). What is not recorded is not here, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.conventions import in_order
from pipeline.dataset.splits.table import SPLITS
from pipeline.report.report_inputs import ReportInputs

MOST_SOURCES = 12
"""That are listed by name."""


@dataclass(frozen=True)
class SplitSize:
    """Radiographs and groups of a class, or of all, by split."""

    name: str
    radiographs: Mapping[str, int]
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Sources:
    """Where the radiographs are from."""

    known: int
    """Radiographs with a source."""
    different: int
    largest: Mapping[str, int]
    """The sources of the most radiographs, those of one radiograph left out."""


@dataclass(frozen=True)
class Overlap:
    """What is in more than one split: the proof that none learns from the test."""

    groups: int
    pictures: int
    """By the hash of their pixels."""


@dataclass(frozen=True)
class StudyFacts:
    """Counts beside those of the artifacts themselves."""

    sizes: list[SplitSize]
    """Of each class, then of all."""
    untested: list[str]
    """Classes without a test radiograph."""
    sources: Sources
    overlap: Overlap
    with_spacing: int
    """Of all radiographs."""
    mask_sizes: str
    """Of the test radiographs, pixels."""
    conventions: dict[str, int]
    """Radiographs of each annotation convention; empty where nobody names any."""


def gather_facts(inputs: ReportInputs) -> StudyFacts:
    """The counts of a run."""
    split = inputs.split
    sizes = [_size(str(name), rows) for name, rows in split.groupby("class_name")]
    return StudyFacts(
        sizes=[*sizes, _size("All", split)],
        untested=[one.name for one in sizes if not one.radiographs["test"]],
        sources=_sources(split),
        overlap=Overlap(_in_several(split, "group"), _in_several(split, "pixel_sha256")),
        with_spacing=int((split["spacing"] > 0).sum()),
        mask_sizes=_mask_sizes(inputs.per_image),
        conventions=_conventions(split),
    )


def _conventions(split: pd.DataFrame) -> dict[str, int]:
    if not (split["convention_by"] != "").any():
        return {}
    return {
        name: int((split["convention"] == name).sum()) for name in in_order(split["convention"])
    }


def _size(name: str, rows: pd.DataFrame) -> SplitSize:
    of = {split: rows[rows["split"] == split] for split in SPLITS}
    return SplitSize(
        name,
        {split: len(part) for split, part in of.items()},
        {split: int(part["group"].nunique()) for split, part in of.items()},
    )


def _sources(split: pd.DataFrame) -> Sources:
    known = split.loc[split["source"] != "", "source"]
    counts = known.value_counts()
    ranked = sorted(counts[counts > 1].items(), key=lambda item: (-item[1], item[0]))
    return Sources(
        known=len(known),
        different=len(counts),
        largest={str(name): int(count) for name, count in ranked[:MOST_SOURCES]},
    )


def _in_several(split: pd.DataFrame, column: str) -> int:
    """How many values of `column` are in more than one split."""
    return int((split.groupby(column)["split"].nunique() > 1).sum())


def _mask_sizes(per_image: pd.DataFrame) -> str:
    pixels = per_image[["tp", "fp", "fn", "tn"]].sum(axis=1)
    low, high = int(pixels.min()), int(pixels.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
