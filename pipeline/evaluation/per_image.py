"""per_image.parquet: what was measured of each test radiograph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.conventions import STANDARD
from pipeline.evaluation.boundary import BorderScores
from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.scores import SCORES, Counts, Scores, area_error, score
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile

PER_IMAGE_FILE = Path("artifacts/evaluate/per_image.parquet")
"""Below the project's root."""

IDENTITY = (
    *("image_id", "class_name", "source", "pixel_sha256", "group"),
    *("convention", "convention_by"),
)
FAILURE = 0.90
"""A radiograph whose Dice is below this is a failure."""

PARTS = ("", "left_", "right_")
"""Of both lungs, of the patient's left one and of the right one: prefixes of columns."""
MEASURES = (*SCORES, *BorderScores._fields, "area_error")
"""Of each part."""
LOW_IS_GOOD = ("hd95", "assd", "area_error", "brier", "ece", "contour_entropy")
WHOLE = (*MEASURES, *Confidence._fields, "tta_dice")
"""Of the whole radiograph; the last one is NaN where it was not measured."""

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
    convention: str = STANDARD
    """Of the mask, and who says so, as in split.csv."""
    convention_by: str = ""
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
