"""per_image.parquet, per_class.csv and metrics.json: the scores of each image and over many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import pandas as pd

from pipeline.artifacts import Artifact
from pipeline.evaluation.scores import SCORES, Counts, Scores, score
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile

METRICS_FILE = Path("artifacts/evaluate/metrics.json")
PER_IMAGE_FILE = Path("artifacts/evaluate/per_image.parquet")
PER_CLASS_FILE = Path("artifacts/evaluate/per_class.csv")
"""All below the project's root."""

IDENTITY = ("image_id", "class_name", "pixel_sha256", "group")
FAILURE = 0.90
"""A radiograph whose Dice is below this is a failure."""

PER_IMAGE = TableFile(
    {
        **dict.fromkeys(IDENTITY, TEXT),
        **dict.fromkeys(Counts._fields, COUNT),
        **dict.fromkeys(SCORES, NUMBER),
    },
    "the stage evaluate",
)
PER_CLASS = TableFile(
    {"class_name": TEXT, "cases": COUNT, **dict.fromkeys(SCORES, NUMBER)}, "the stage evaluate"
)


@dataclass(frozen=True)
class ImageScores:
    """A row of per_image.parquet: a radiograph, its pixels by kind, and its scores."""

    image_id: str
    class_name: str
    pixel_sha256: str
    group: str
    """As in split.csv: radiographs of one group are of one patient, or near-duplicates."""
    counts: Counts
    scores: Scores


def per_image_table(images: Iterable[ImageScores]) -> pd.DataFrame:
    """The table of these images, in their order."""
    rows = [
        {name: getattr(image, name) for name in IDENTITY}
        | image.counts._asdict()
        | image.scores.model_dump()
        for image in images
    ]
    return pd.DataFrame(rows, columns=list(PER_IMAGE.columns)).astype(dict(PER_IMAGE.columns))


def image_scores(per_image: pd.DataFrame) -> list[ImageScores]:
    """Each row of per_image.parquet."""
    return [
        ImageScores(
            **{name: str(row[name]) for name in IDENTITY},
            counts=Counts(*(int(row[name]) for name in Counts._fields)),
            scores=Scores(**{name: float(row[name]) for name in SCORES}),
        )
        for row in per_image.to_dict("records")
    ]


class MeanScores(Scores):
    """The mean of each score over the images."""

    cases: int
    """Images."""


class Metrics(Artifact, MeanScores):
    """metrics.json: the scores over all test images, and of each class.

    Each score is the mean over images; `pooled` has the same six from the summed counts, where
    large masks weigh more.
    """

    made_by: ClassVar[str] = "the stage evaluate"

    dice_median: float
    dice_p05: float
    """The 5th percentile, interpolated linearly."""
    dice_min: float
    pooled: Scores
    classes: dict[str, MeanScores]
    worst_class_dice: float
    """The lowest mean Dice of a class."""

    @classmethod
    def of(cls, per_image: pd.DataFrame) -> Self:
        """Over the rows of per_image.parquet, of which there is at least one."""
        pooled = Counts(*(int(per_image[name].sum()) for name in Counts._fields))
        classes = {str(name): mean_scores(rows) for name, rows in per_image.groupby("class_name")}
        return cls(
            **dict(mean_scores(per_image)),
            dice_median=float(per_image["dice"].median()),
            dice_p05=float(per_image["dice"].quantile(0.05)),
            dice_min=float(per_image["dice"].min()),
            pooled=score(pooled),
            classes=classes,
            worst_class_dice=min(means.dice for means in classes.values()),
        )


def mean_scores(per_image: pd.DataFrame) -> MeanScores:
    """The mean of each score over the rows of per_image.parquet."""
    means = {name: float(per_image[name].mean()) for name in SCORES}
    return MeanScores(cases=len(per_image), **means)


def per_class_table(metrics: Metrics) -> pd.DataFrame:
    """A row for each class, in the order of their names."""
    rows = [
        {"class_name": name, **means.model_dump()}
        for name, means in sorted(metrics.classes.items())
    ]
    return pd.DataFrame(rows, columns=list(PER_CLASS.columns))
