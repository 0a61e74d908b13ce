"""The medial borders of the lungs of a mask: where its annotators let the lungs end at the heart.

Those who take in what lies behind the heart draw a border straight down beside the spine; those who
leave it out follow the heart's outline, so that the lungs part widely above the diaphragm.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey

Borders = NDArray[np.float64]
"""(10, 2) of one mask: at each height from above, where the lung on the left of the picture and the
one on the right end towards the middle, as shares of the width of both lungs, from the left."""

HEIGHTS = 10
UPPERMOST, LOWEST = 0.2, 0.8
"""Of the rows that both lungs reach: above all masks are alike, and below is the diaphragm."""
SECOND_LUNG = 0.1
"""Least area of a part, as a share of the largest, to be a lung and no stray."""
STEPS = 1000
"""Of the width: borders are kept as whole numbers."""


class LungFrame(NamedTuple):
    """Where the borders of a mask are measured, pixels."""

    rows: NDArray[np.int64]
    """(10,)"""
    start: int
    """First column of the lungs."""
    width: int
    """Of both lungs together."""


class MedialBorders(NamedTuple):
    """Borders as columns of a table: whole thousandths with blanks between, empty without any."""

    medial_left: str
    """Of the lung on the left of the picture, from above."""
    medial_right: str


def measure_borders(mask: Grey) -> MedialBorders:
    """The borders of a mask (H, W), values 0 and 1; empty unless it has two lungs side by side."""
    found = _measure(mask)
    if found is None:
        return MedialBorders("", "")
    frame, inner = found
    steps = np.rint(STEPS * (inner - frame.start) / frame.width).astype(int)
    return MedialBorders(*(" ".join(map(str, side)) for side in steps.T))


def lung_frame(mask: Grey) -> LungFrame | None:
    """Where the borders of a mask (H, W) are measured; None unless it has two lungs."""
    found = _measure(mask)
    return None if found is None else found[0]


def _measure(mask: Grey) -> tuple[LungFrame, NDArray[np.int64]] | None:
    """The frame, and the columns of the borders (10, 2)."""
    _, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = 1 + np.argsort(-areas, kind="stable")[:2]
    if len(parts) < 2 or stats[parts[1], cv2.CC_STAT_AREA] < SECOND_LUNG * areas.max():
        return None
    left, right = sorted(parts, key=lambda part: float(centres[part][0]))
    x, y, width, height = (stats[[left, right], column] for column in range(4))
    top, bottom = y.max(), (y + height).min()
    if top >= bottom:  # one above the other
        return None
    rows = np.rint(top + np.linspace(UPPERMOST, LOWEST, HEIGHTS) * (bottom - 1 - top)).astype(int)
    ends = labels.shape[1] - (labels[rows, ::-1] == left).argmax(axis=1)
    begins = (labels[rows] == right).argmax(axis=1)
    frame = LungFrame(rows, int(x.min()), int((x + width).max() - x.min()))
    return frame, np.stack([ends, begins], axis=1)


def borders_of(manifest: pd.DataFrame) -> NDArray[np.float64]:
    """The borders of rows of the manifest that all have some: (n, 10, 2)."""
    sides = [
        np.array([side.split() for side in manifest[name]], np.float64).reshape(-1, HEIGHTS)
        for name in MedialBorders._fields
    ]
    return np.stack(sides, axis=2) / STEPS


def gaps(borders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Between the lungs at each height, of the width of both: (..., 10) of (..., 10, 2)."""
    between: NDArray[np.float64] = borders[..., 1] - borders[..., 0]
    return between
