"""calibration.csv: the reliability curve, how often pixels of a probability are lung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.evaluation.confidence import BINS, Bins
from pipeline.table_files import TableFile, columns_of, table_of

CALIBRATION_FILE = Path("artifacts/evaluate/calibration.csv")
"""Below the project's root."""


@dataclass(frozen=True)
class Reliability:
    """A row of calibration.csv; bins without pixels have no row."""

    class_name: str
    bin: int
    """0 to BINS - 1, of equal width."""
    pixels: int
    probability: float
    """Mean of the pixels."""
    lung: float
    """Share of the pixels that are lung in the reference."""


CALIBRATION = TableFile(columns_of(Reliability), "the stage evaluate")


def calibration_table(classes: Mapping[str, Bins]) -> pd.DataFrame:
    """A row for each class and bin, from the pooled pixels of each class."""
    rows = [
        Reliability(
            class_name=name,
            bin=number,
            pixels=int(bins.pixels[number]),
            probability=float(bins.probability[number] / bins.pixels[number]),
            lung=float(bins.lung[number] / bins.pixels[number]),
        )
        for name, bins in sorted(classes.items())
        for number in range(BINS)
        if bins.pixels[number]
    ]
    return table_of(rows, CALIBRATION.columns)
