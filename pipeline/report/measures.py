"""The names, digits and units by which the report speaks of measures."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """How a column of per_image.parquet is written."""

    title: str
    digits: int = 4
    unit: str = ""
    """Empty for a share of 0 to 1."""

    def write(self, value: float | None) -> str:
        """The value with its digits; a dash where there is none."""
        if value is None or math.isnan(value):
            return "–"
        return f"{value:.{self.digits}f}"


MEASURES_SHOWN = {
    "dice": Measure("Dice"),
    "iou": Measure("IoU"),
    "hd95": Measure("HD95", 2, "pixels"),
    "assd": Measure("ASSD", 2, "pixels"),
    "nsd": Measure("NSD"),
    "area_error": Measure("Area error"),
    "precision": Measure("Precision"),
    "recall": Measure("Recall"),
    "specificity": Measure("Specificity"),
    "accuracy": Measure("Accuracy"),
    "brier": Measure("Brier score"),
    "ece": Measure("ECE"),
    "soft_dice": Measure("Soft Dice"),
    "contour_entropy": Measure("Entropy per contour pixel", 3, "bits"),
    "tta_dice": Measure("Dice among augmentations"),
}
"""By the names of the columns, in the order of tables."""

FAILURE_SHARE = Measure("Failures")
