"""The scores of two models on the radiographs that both were tested on, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import ReleaseError
from pipeline.evaluation.intervals import Interval, paired_intervals
from pipeline.evaluation.metrics import source_names
from pipeline.evaluation.per_image import FAILURE
from pipeline.inference.segmenter import Segmenter
from pipeline.release.scored_conventions import CONVENTION, asked_conventions

KEYS = ["image_id", "pixel_sha256"]
LABELS = ("class_name", "group", "source", CONVENTION)
"""Columns that say what a radiograph is; the last two only tables of later versions have."""


NAMED = 6
"""Columns of one table alone that a note names."""


@dataclass(frozen=True)
class ComparedModel:
    """One of the two that are compared: its scores, and what predicts if it can be had."""

    name: str
    """What a person calls it."""
    detail: str
    """Which run it is of."""
    per_image: pd.DataFrame
    """With KEYS and dice at least; an earlier version has fewer columns than per_image.parquet."""
    split: pd.DataFrame | None
    """split.csv of its run; None when there is none."""
    segmenter: Segmenter | None
    threshold: float
    """The probability from which a pixel is lung."""
    problem: str = ""
    """Why there is no segmenter."""


@dataclass(frozen=True)
class ScoreChange:
    """A measure over all radiographs, those of a class or of a source."""

    kind: str
    """all, class, source or convention."""
    part: str
    """Which class, source or convention; `all` of all."""
    measure: str
    cases: int
    """Radiographs where the measure is a number for both models."""
    before: float
    """The mean over them by the first model."""
    after: float
    interval: Interval | None
    """95 % of the difference, over resampled groups; None with fewer than two groups."""

    @property
    def difference(self) -> float:
        """By how much the second model's mean is greater."""
        return self.after - self.before

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class PairedScores:
    """Both models' scores of the same radiographs; the three tables have the same rows."""

    models: tuple[ComparedModel, ComparedModel]
    labels: pd.DataFrame
    """KEYS and LABELS; without a source or a convention where no table has one."""
    before: pd.DataFrame
    """A column for each measure that both tables have."""
    after: pd.DataFrame
    changes: tuple[ScoreChange, ...]
    """By part, then measure."""
    notes: tuple[str, ...]
    """What limits the comparison, in whole sentences."""

    @property
    def dice_gain(self) -> pd.Series[float]:
        """By how much Dice is greater with the second model."""
        return self.after["dice"] - self.before["dice"]

    @property
    def failures(self) -> tuple[int, int]:
        """Radiographs with a Dice below FAILURE, by each model."""
        return int((self.before["dice"] < FAILURE).sum()), int((self.after["dice"] < FAILURE).sum())

    def of(self, measure: str) -> list[ScoreChange]:
        """The changes of one measure, of all radiographs first."""
        return [change for change in self.changes if change.measure == measure]


def pair_scores(before: ComparedModel, after: ComparedModel) -> PairedScores:
    """Pair the scores of the radiographs with the same name and pixels.

    Those that either model learned from, for training or to stop it, are left out. Raises
    ReleaseError when no radiograph is left or a table has no Dice.
    """
    models = (before, after)
    first, second = (_keyed(model) for model in models)
    common = second.index.intersection(first.index, sort=False)
    if common.empty:
        raise ReleaseError(
            f"{before.name} and {after.name}: found no test radiograph in common among "
            f"{len(first)} and {len(second)}, expected at least one; compare runs whose test "
            "splits overlap",
        )
    learned = _learned(models)
    kept = common[~common.get_level_values("pixel_sha256").isin(learned)]
    if kept.empty:
        raise ReleaseError(
            f"{before.name} and {after.name}: all {len(common)} test radiographs in common are in "
            "the training or validation split of one of them, expected some that neither learned "
            "from; compare runs of one split",
        )
    measures = [name for name in _measures(second) if name in _measures(first)]
    labels = _labels(kept, second.loc[kept], first.loc[kept])
    columns = [_finite(table.loc[kept, measures]) for table in (first, second)]
    notes = [
        *_coverage(models, len(kept), len(common) - len(kept)),
        *_column_notes(first, second, measures),
        *_split_notes(models, kept),
        *_convention_notes(first.loc[kept], second.loc[kept]),
        *_group_notes(first, second, labels),
    ]
    return PairedScores(
        models=models,
        labels=labels,
        before=columns[0],
        after=columns[1],
        changes=tuple(_changes(labels, *columns)),
        notes=tuple(notes),
    )


def _keyed(model: ComparedModel) -> pd.DataFrame:
    missing = [name for name in (*KEYS, "dice") if name not in model.per_image.columns]
    if missing:
        raise ReleaseError(
            f"{model.name}: its table of scores has no column {missing[0]}, expected those of the "
            "stage evaluate; start a new run",
        )
    return model.per_image.drop_duplicates(KEYS).set_index(KEYS)


def _measures(table: pd.DataFrame) -> list[str]:
    """The columns of scores: counts of pixels are whole numbers, and a spacing is no score."""
    return [
        str(name)
        for name in table.columns
        if pd.api.types.is_float_dtype(table[name]) and name != "spacing"
    ]


def _finite(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores; those that are no number have none to compare."""
    return scores.reset_index(drop=True).replace([np.inf, -np.inf], np.nan)


def _learned(models: Iterable[ComparedModel]) -> set[str]:
    """The pixels of the radiographs that a model was trained on or chosen by."""
    splits = [model.split for model in models if model.split is not None]
    return {str(one) for split in splits for one in split.pixel_sha256[split.split != "test"]}


def _labels(kept: pd.Index[Any], *tables: pd.DataFrame) -> pd.DataFrame:
    """What the radiographs are, by the first of the tables that says so."""
    labels = kept.to_frame(index=False)
    for name in LABELS:
        told = next((table[name] for table in tables if name in table.columns), None)
        if told is not None:
            labels[name] = told.fillna("").astype(str).to_numpy()
    if "class_name" not in labels:
        labels["class_name"] = labels["image_id"].str.partition("/")[0]
    if "group" not in labels:
        labels["group"] = labels["image_id"]
    return labels


def _coverage(models: tuple[ComparedModel, ComparedModel], kept: int, left: int) -> Iterator[str]:
    a, b = (len(model.per_image) for model in models)
    if not kept == a == b:
        yield f"Compared on {kept} radiographs, of {a} that A was tested on and {b} of B."
    if left:
        yield f"Left out: {left} tested on by both that A or B learned from."


def _column_notes(a: pd.DataFrame, b: pd.DataFrame, measures: list[str]) -> Iterator[str]:
    for letter, table in (("A", a), ("B", b)):
        own = [name for name in _measures(table) if name not in measures]
        if own:
            more = f" and {len(own) - NAMED} more" if len(own) > NAMED else ""
            yield f"Only {letter} has {', '.join(own[:NAMED])}{more}: not compared."


def _split_notes(models: tuple[ComparedModel, ComparedModel], kept: pd.Index[Any]) -> Iterator[str]:
    masks = []
    for letter, model in zip("AB", models, strict=True):
        if model.split is None:
            yield f"{letter} has no split.csv: whether it learned from these is not known."
        elif "mask_sha256" in model.split.columns:
            masks.append(model.split.drop_duplicates(KEYS).set_index(KEYS)["mask_sha256"])
    if len(masks) == 2:
        both = [mask.reindex(kept).to_numpy() for mask in masks]
        changed = int((both[0] != both[1]).sum())
        if changed:
            yield (
                f"{changed} have another reference mask in B than in A: there the difference is "
                "not the models' alone."
            )


def _convention_notes(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    asked = [asked_conventions(table).to_numpy() for table in (a, b)]
    other = asked[0] != asked[1]
    if other.any():
        names = [", ".join(sorted(set(map(str, one[other])))) for one in asked]
        yield (
            f"{int(other.sum())} are answered in another convention by B ({names[1]}) than by A "
            f"({names[0]}), as it was tested so or does not know the other: there the difference "
            "is not the models' alone."
        )


def _group_notes(a: pd.DataFrame, b: pd.DataFrame, labels: pd.DataFrame) -> Iterator[str]:
    if "group" not in a.columns and "group" not in b.columns:
        yield "Neither table says who is of one patient: each radiograph counts as a group."
    if labels["group"].nunique() < 2:
        yield "All radiographs are of one group, so there are no intervals."


def _changes(
    labels: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame
) -> Iterator[ScoreChange]:
    parts = [("all", "all", pd.Series(True, index=labels.index))]
    kinds = {"class": labels["class_name"]}
    if "source" in labels and labels["source"].nunique() > 1:
        kinds["source"] = source_names(labels["source"])
    if CONVENTION in labels and labels[CONVENTION].nunique() > 1:
        kinds["convention"] = labels[CONVENTION]
    for kind, names in kinds.items():
        parts += [(kind, name, names == name) for name in sorted(names.unique())]
    for kind, part, rows in parts:
        differences = after[rows] - before[rows]
        intervals = paired_intervals(differences, labels.loc[rows, "group"])
        for measure in map(str, differences):
            both = differences[measure].notna()
            yield ScoreChange(
                kind=kind,
                part=part,
                measure=measure,
                cases=int(both.sum()),
                before=float(before[measure][rows][both].mean()),
                after=float(after[measure][rows][both].mean()),
                interval=intervals.get(measure),
            )
