"""per_image.parquet, per_class.csv and metrics.json: the scores of each image and over many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from pipeline.artifacts import Artifact
from pipeline.evaluation.boundary import BorderScores
from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.intervals import Interval, mean_intervals, worst_interval
from pipeline.evaluation.scores import SCORES, Counts, Scores, area_error, score
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile

METRICS_FILE = Path("artifacts/evaluate/metrics.json")
PER_IMAGE_FILE = Path("artifacts/evaluate/per_image.parquet")
PER_CLASS_FILE = Path("artifacts/evaluate/per_class.csv")
"""All below the project's root."""

IDENTITY = ("image_id", "class_name", "source", "pixel_sha256", "group")
FAILURE = 0.90
"""A radiograph whose Dice is below this is a failure."""

PARTS = ("", "left_", "right_")
"""Of both lungs, of the patient's left one and of the right one: prefixes of columns."""
MEASURES = (*SCORES, *BorderScores._fields, "area_error")
"""Of each part."""
LOW_IS_GOOD = ("hd95", "assd", "area_error", "brier", "ece", "contour_entropy")
WHOLE = (*MEASURES, *Confidence._fields, "tta_dice")
"""Of the whole radiograph; the last one is NaN where it was not measured."""
SMALLEST_SOURCE = 10
"""Test radiographs of a source that is shown by itself."""
OTHER, UNKNOWN = "(other sources)", "(not recorded)"

PER_IMAGE = TableFile(
    {
        **dict.fromkeys(IDENTITY, TEXT),
        "spacing": NUMBER,
        **{
            f"{part}{name}": kind
            for part in PARTS
            for name, kind in (
                *dict.fromkeys(Counts._fields, COUNT).items(),
                *dict.fromkeys(MEASURES, NUMBER).items(),
            )
        },
        **dict.fromkeys((*Confidence._fields, "tta_dice"), NUMBER),
    },
    "the stage evaluate",
)
PER_CLASS = TableFile(
    {"class_name": TEXT, "cases": COUNT, **dict.fromkeys(MEASURES, NUMBER)}, "the stage evaluate"
)


@dataclass(frozen=True)
class Agreement:
    """How a predicted mask, or one lung of it, agrees with the reference."""

    counts: Counts
    borders: BorderScores

    @property
    def row(self) -> dict[str, float]:
        """Its columns in per_image.parquet, without a prefix."""
        scores = score(self.counts).model_dump()
        error = {"area_error": area_error(self.counts)}
        return self.counts._asdict() | scores | self.borders._asdict() | error


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """A row of per_image.parquet: a radiograph and how its prediction agrees."""

    image_id: str
    class_name: str
    source: str
    pixel_sha256: str
    group: str
    """As in split.csv: radiographs of one group are of one patient, or near-duplicates."""
    spacing: float
    """Of the mask, millimetres per pixel; NaN where it is not known."""
    both: Agreement
    left: Agreement
    """The patient's left lung."""
    right: Agreement
    confidence: Confidence
    tta_dice: float = math.nan
    """Agreement among the answers to the radiograph changed in harmless ways; NaN: not measured."""

    @property
    def counts(self) -> Counts:
        """Pixels of both lungs."""
        return self.both.counts

    @property
    def scores(self) -> Scores:
        """Of both lungs."""
        return score(self.counts)

    @property
    def row(self) -> dict[str, Any]:
        """The row."""
        parts = zip(PARTS, (self.both, self.left, self.right), strict=True)
        return {
            **{name: getattr(self, name) for name in (*IDENTITY, "spacing")},
            **{f"{part}{name}": value for part, one in parts for name, value in one.row.items()},
            **self.confidence._asdict(),
            "tta_dice": self.tta_dice,
        }


def per_image_table(images: Iterable[ImageScores]) -> pd.DataFrame:
    """The table of these images, in their order."""
    rows = [image.row for image in images]
    return pd.DataFrame(rows, columns=list(PER_IMAGE.columns)).astype(dict(PER_IMAGE.columns))


def image_scores(per_image: pd.DataFrame) -> list[ImageScores]:
    """Each row of per_image.parquet."""
    return [_image_scores(row) for row in per_image.to_dict("records")]


def _image_scores(row: Mapping[Any, Any]) -> ImageScores:
    both, left, right = (
        Agreement(
            Counts(*(int(row[f"{part}{name}"]) for name in Counts._fields)),
            BorderScores(*(float(row[f"{part}{name}"]) for name in BorderScores._fields)),
        )
        for part in PARTS
    )
    return ImageScores(
        **{name: str(row[name]) for name in IDENTITY},
        spacing=float(row["spacing"]),
        both=both,
        left=left,
        right=right,
        confidence=Confidence(*(float(row[name]) for name in Confidence._fields)),
        tta_dice=float(row["tta_dice"]),
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
    """metrics.json: the scores over all test images, of each class, each source and each lung.

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
            worst_class_dice=min(means.dice for means in classes.values()),
            worst_class_interval=worst_interval(per_image, "class_name"),
        )


def _summaries(per_image: pd.DataFrame, names: pd.Series) -> dict[str, Summary]:
    return {str(name): Summary.of_rows(rows) for name, rows in per_image.groupby(names)}


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
