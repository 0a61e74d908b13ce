"""metrics.json and per_class.csv: the scores over many radiographs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from pipeline.artifacts import Artifact
from pipeline.conventions import PERSON
from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.intervals import Interval, mean_intervals, worst_class_interval
from pipeline.evaluation.per_image import FAILURE, LOW_IS_GOOD, MEASURES
from pipeline.evaluation.scores import Counts, Scores, score
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile

METRICS_FILE = Path("artifacts/evaluate/metrics.json")
PER_CLASS_FILE = Path("artifacts/evaluate/per_class.csv")
"""Both below the project's root."""

SMALLEST_SOURCE = 10
"""Test radiographs of a source that is shown by itself."""
OTHER, UNKNOWN = "(other sources)", "(not recorded)"

PER_CLASS = TableFile(
    {"class_name": TEXT, "cases": COUNT, **dict.fromkeys(MEASURES, NUMBER)}, "the stage evaluate"
)


class Means(Scores):
    """The mean of each measure over radiographs, of both lungs or of one."""

    hd95: float
    """Pixels, as assd."""
    assd: float
    nsd: float
    """0..1."""
    area_error: float
    """Of the reference's area."""


class PartSummary(Means):
    """How a measure is spread over radiographs, and how sure its mean is."""

    intervals: dict[str, Interval]
    """95 % of each mean, by resampled groups."""
    medians: dict[str, float]
    p05: dict[str, float]
    """The 5th percentile of what is better high, interpolated linearly."""
    p95: dict[str, float]
    """The 95th percentile of what is better low."""

    @classmethod
    def of_part(cls, per_image: pd.DataFrame, part: str) -> Self:
        """Of the columns with the prefix `part`; there is at least one row."""
        columns = {name: f"{part}{name}" for name in MEASURES}
        return cls(**_spread(per_image, columns))


class Summary(PartSummary):
    """The scores over some of the test radiographs."""

    cases: int
    """Radiographs."""
    groups: int
    failures: float
    """Share of radiographs with a Dice below FAILURE."""
    brier: float
    ece: float
    """Mean of the radiographs' own."""
    soft_dice: float
    contour_entropy: float
    with_spacing: int
    """Radiographs whose spacing is known."""
    hd95_mm: float | None
    """Mean over those, as assd_mm; None without any."""
    assd_mm: float | None

    @classmethod
    def of_rows(cls, per_image: pd.DataFrame) -> Self:
        """Over rows of per_image.parquet, of which there is at least one."""
        columns = {name: name for name in (*MEASURES, *Confidence._fields)}
        known = per_image[per_image["spacing"] > 0]
        return cls(
            **_spread(per_image.assign(failures=per_image["dice"] < FAILURE), columns, "failures"),
            cases=len(per_image),
            groups=int(per_image["group"].nunique()),
            with_spacing=len(known),
            hd95_mm=_millimetres(known, "hd95"),
            assd_mm=_millimetres(known, "assd"),
        )


def _millimetres(known: pd.DataFrame, name: str) -> float | None:
    return float((known[name] * known["spacing"]).mean()) if len(known) else None


def _spread(per_image: pd.DataFrame, columns: Mapping[str, str], *shares: str) -> dict[str, Any]:
    """Means, medians, percentiles and intervals by the names of the measures."""
    names = [*columns, *shares]
    values = per_image[[*columns.values(), *shares]].to_numpy(np.float64)
    low, middle, high = np.quantile(values[:, : len(columns)], [0.05, 0.5, 0.95], axis=0).tolist()
    return {
        **dict(zip(names, values.mean(axis=0).tolist(), strict=True)),
        "intervals": mean_intervals(pd.DataFrame(values, columns=names), per_image["group"]),
        "medians": dict(zip(columns, middle, strict=True)),
        "p05": {
            name: one for name, one in zip(columns, low, strict=True) if name not in LOW_IS_GOOD
        },
        "p95": {name: one for name, one in zip(columns, high, strict=True) if name in LOW_IS_GOOD},
    }


class Metrics(Artifact, Summary):
    """metrics.json: the scores over all test images, of each class, source, lung and convention.

    Each score is the mean over images; `pooled` has those of the summed counts, where large masks
    weigh more.
    """

    made_by: ClassVar[str] = "the stage evaluate"

    dice_min: float
    pooled: Scores
    left: PartSummary
    right: PartSummary
    classes: dict[str, Summary]
    sources: dict[str, Summary]
    """By `source_names`."""
    conventions: dict[str, Summary]
    """By annotation convention, where there are several."""
    confirmed: Summary | None
    """Of the radiographs whose convention a person confirmed, where there are any."""
    worst_class_dice: float
    """The lowest mean Dice of a class."""
    worst_class_interval: Interval
    """95 % of it: of the lowest of the classes' resampled means."""

    @classmethod
    def of(cls, per_image: pd.DataFrame) -> Self:
        """Over the rows of per_image.parquet, of which there is at least one."""
        pooled = Counts(*(int(per_image[name].sum()) for name in Counts._fields))
        classes = _summaries(per_image, per_image["class_name"])
        return cls(
            **dict(Summary.of_rows(per_image)),
            dice_min=float(per_image["dice"].min()),
            pooled=score(pooled),
            left=PartSummary.of_part(per_image, "left_"),
            right=PartSummary.of_part(per_image, "right_"),
            classes=classes,
            sources=_summaries(per_image, source_names(per_image["source"])),
            conventions=_by_convention(per_image),
            confirmed=_confirmed(per_image),
            worst_class_dice=min(means.dice for means in classes.values()),
            worst_class_interval=worst_class_interval(per_image),
        )


def _summaries(per_image: pd.DataFrame, names: pd.Series) -> dict[str, Summary]:
    return {str(name): Summary.of_rows(rows) for name, rows in per_image.groupby(names)}


def _by_convention(per_image: pd.DataFrame) -> dict[str, Summary]:
    several = per_image["convention"].nunique() > 1
    return _summaries(per_image, per_image["convention"]) if several else {}


def _confirmed(per_image: pd.DataFrame) -> Summary | None:
    rows = per_image[per_image["convention_by"] == PERSON]
    return Summary.of_rows(rows) if len(rows) else None


def source_names(source: pd.Series) -> pd.Series:
    """The source of each radiograph as summaries name it.

    Sources of fewer than SMALLEST_SOURCE radiographs are one, and so are those not recorded.
    """
    count = source.groupby(source).transform("size")
    return source.where(count >= SMALLEST_SOURCE, OTHER).where(source != "", UNKNOWN)


def flat_numbers(metrics: Metrics) -> dict[str, float | None]:
    """Every number of metrics.json by its path: `classes.COVID.intervals.dice.0`."""
    return dict(_flat(metrics.model_dump(), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, float | None]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (tuple, list)):
        for number, one in enumerate(value):
            yield from _flat(one, f"{path}.{number}")
    else:
        yield path, value


def differing_metrics(metrics: Metrics, per_image: pd.DataFrame) -> list[str]:
    """The paths of numbers that do not follow from the table, sorted."""
    found, expected = flat_numbers(metrics), flat_numbers(Metrics.of(per_image))
    return [
        path
        for path in sorted(found.keys() | expected.keys())
        if not _agree(found.get(path, math.nan), expected.get(path, math.nan))
    ]


def _agree(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    # Not equality: another machine may add up in another order.
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)


def per_class_table(metrics: Metrics) -> pd.DataFrame:
    """A row for each class, in the order of their names."""
    rows = [
        {"class_name": name, **summary.model_dump()}
        for name, summary in sorted(metrics.classes.items())
    ]
    return pd.DataFrame(rows, columns=list(PER_CLASS.columns))
