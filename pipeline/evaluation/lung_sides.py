"""The lungs of a reference mask, each with its side, its box and what lies around it.

On a frontal radiograph the patient's right lies at the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.sides import SECOND_PART

Side = Literal["right", "left"]
Region = NDArray[np.bool_]

JOINED = 0.25
"""Share of a part that must lie on either side of the midline for it to be both lungs."""

BASE = 0.2
"""Of a lung's height: its lowest rows."""


@dataclass(frozen=True)
class ReferenceLung:
    """One lung of a reference mask; regions are bool (H, W)."""

    side: Side
    mask: Region
    box: tuple[int, int, int, int]
    """First row, last row + 1, first column, last column + 1; without stray parts."""
    midline: int
    """The first column of the patient's left."""

    @property
    def height(self) -> int:
        """Of the box, pixels."""
        return self.box[1] - self.box[0]

    @property
    def width(self) -> int:
        """Of the box, pixels."""
        return self.box[3] - self.box[2]

    def rows(self, start: float, stop: float) -> slice:
        """The rows of the picture between two shares of the box's height, 0 top to 1 bottom."""
        top = self.box[0]
        return slice(top + round(start * self.height), top + round(stop * self.height))

    def columns(self, start: float, stop: float) -> slice:
        """The columns between two shares of the box's width, 0 lateral to 1 towards the midline."""
        if self.side == "left":
            start, stop = 1 - stop, 1 - start
        first = self.box[2]
        return slice(first + round(start * self.width), first + round(stop * self.width))

    def own_side(self) -> Region:
        """The lung's side of the midline."""
        right = np.arange(self.mask.shape[1]) < self.midline
        return np.broadcast_to(right == (self.side == "right"), self.mask.shape)

    def surroundings(self) -> dict[str, Region]:
        """What lies around the lung on its side of the midline; no two of them overlap.

        lateral: in a row of the lung, beyond its outermost pixel. below: under the lung's lowest
        row, or in the lowest fifth of its box under the lowest pixel of a column. medial: in a row
        of the lung, from its innermost pixel to the midline. above: over its highest row. within:
        what is left, such as a notch of the outline.
        """
        outside = ~self.mask
        height, width = outside.shape
        y, x = np.arange(height)[:, None], np.arange(width)[None, :]
        columns = x if self.side == "right" else width - 1 - x  # 0 is the lateral border
        across = self.mask if self.side == "right" else self.mask[:, ::-1]
        inhabited = np.any(across, 1)[:, None]
        outermost = across.argmax(1)[:, None]
        innermost = width - 1 - across[:, ::-1].argmax(1)[:, None]
        lowest = np.where(self.mask.any(0), height - 1 - self.mask[::-1].argmax(0), height)[None, :]
        (first, *_, last) = np.flatnonzero(inhabited)[[0, -1]]
        own = outside & self.own_side()
        lateral = own & inhabited & (columns < outermost)
        base = y >= self.rows(1 - BASE, 1).start
        below = own & ~lateral & ((y > last) | (base & (y > lowest)))
        medial = own & ~below & inhabited & (columns > innermost)
        above = own & (y < first)
        within = own & ~(lateral | below | medial | above)
        return {
            "lateral": lateral,
            "below": below,
            "medial": medial,
            "above": above,
            "within": within,
        }


def reference_lungs(truth: NDArray[np.uint8], midline: int) -> tuple[ReferenceLung, ...]:
    """The right and the left lung of a mask (H, W), 0 and 1, as far as they are there.

    A part belongs to the side of its centroid. One that has a quarter or more of its area on
    either side of the midline holds both lungs and is cut there.
    """
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(truth, connectivity=8)
    if count == 1:
        return ()
    areas = np.append(0, stats[1:, cv2.CC_STAT_AREA])  # the first is what is no lung
    large = areas >= SECOND_PART * areas.max()
    sides = np.where(centroids[:, 0] < midline, 1, 2).astype(np.uint8)
    sides[0] = 0
    side_of = sides[labels]
    for part in np.flatnonzero(large):
        _cut(side_of, labels == part, midline)
    numbers: tuple[tuple[int, Side], ...] = (1, "right"), (2, "left")
    lungs = []
    for number, side in numbers:
        mask = side_of == number
        boxed = mask & large[labels]
        if boxed.any():  # a stray speck beside a single lung is no lung
            lungs.append(ReferenceLung(side, mask, _box(boxed), midline))
    return tuple(lungs)


def _cut(side_of: NDArray[np.uint8], part: Region, midline: int) -> None:
    right = np.count_nonzero(part[:, :midline])
    whole = np.count_nonzero(part)
    if JOINED * whole <= right <= (1 - JOINED) * whole:
        left = np.arange(part.shape[1])[None, :] >= midline
        side_of[part] = np.where(left, 2, 1).repeat(part.shape[0], 0)[part]


def _box(mask: Region) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
