"""Where a predicted mask differs from its reference, and which differences are thick.

Annotators draw an outline differently by a few pixels everywhere; what stands out is where they and
the prediction differ by more. All regions are bool (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.lung_sides import ReferenceLung, Region, reference_lungs
from pipeline.evaluation.sides import midline

THICK = 0.04
"""Side of the square that a thick error holds, as a share of the lungs' height."""

MOVED = 0.01
"""Movement of the whole edge from which on it counts, as a share of the lungs' height."""


@dataclass(frozen=True)
class MaskErrors:
    """A prediction against a reference that holds lung."""

    lungs: tuple[ReferenceLung, ...]
    lung: Region
    """The reference."""
    marked: Region
    """The prediction."""
    missed: Region
    """Lung that is not marked, but for holes."""
    extra: Region
    """What is marked and no lung, but for islands."""
    holes: Region
    """Lung that is not marked and enclosed by what is (4-connected)."""
    islands: Region
    """Parts of the prediction (8-connected) that touch no lung."""
    hull: Region
    """The convex hull of the reference."""
    moved: float
    """By how many pixels the whole edge is moved, outwards if positive; 0 if not all round."""

    @property
    def height(self) -> int:
        """Of the higher lung, pixels."""
        return max(lung.height for lung in self.lungs)

    def share(self, region: Region) -> float:
        """The region's area as a share of the reference's."""
        return float(np.count_nonzero(region) / np.count_nonzero(self.lung))

    def thick(self, region: Region) -> Region:
        """The parts of `missed` or `extra` that hold a square of THICK, with their own edges.

        Where the whole edge is moved, the square is wider than twice the movement, so that the rim
        is none of them.
        """
        side = max(3, round(THICK * self.height), round(2 * abs(self.moved)) + 1)
        square = np.ones((side, side), np.uint8)
        opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, square)
        thick: Region = (cv2.dilate(opened, square) > 0) & region
        return thick


def compare_masks(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> MaskErrors:
    """The differences of two masks (H, W), 0 and 1; `truth` is not empty.

    The regions are of the box around both masks only.
    """
    x, y, width, height = cv2.boundingRect(truth | prediction)
    box = slice(y, y + height), slice(x, x + width)
    lungs = reference_lungs(truth[box], midline(truth) - x)
    truth, prediction = truth[box], prediction[box]
    lung, marked = truth > 0, prediction > 0
    _, labels = cv2.connectedComponents(prediction, connectivity=8)
    touching = np.zeros(labels.max() + 1, np.bool_)
    touching[labels[lung]] = True
    islands = marked & ~touching[labels]
    holes = _enclosed(prediction) & lung
    missed, extra = lung & ~marked & ~holes, marked & ~lung & ~islands
    return MaskErrors(
        lungs=lungs,
        lung=lung,
        marked=marked,
        missed=missed,
        extra=extra,
        holes=holes,
        islands=islands,
        hull=_hull(truth),
        moved=_movement(lungs, missed, extra),
    )


def _enclosed(prediction: NDArray[np.uint8]) -> Region:
    framed = np.pad(1 - prediction, 1, constant_values=1)
    _, labels = cv2.connectedComponents(framed, connectivity=4)
    enclosed: Region = ((labels != labels[0, 0]) & (framed > 0))[1:-1, 1:-1]
    return enclosed


def _hull(truth: NDArray[np.uint8]) -> Region:
    contours, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = cv2.convexHull(np.vstack(contours))
    hull: Region = cv2.fillConvexPoly(np.zeros_like(truth), corners, 1) > 0
    return hull


def _movement(lungs: tuple[ReferenceLung, ...], missed: Region, extra: Region) -> float:
    """The median of the quarters, if the edge of each moved the same way by half of MOVED."""
    moved = np.array([one for lung in lungs for one in _quarters(lung, missed, extra)])
    least = MOVED * max(lung.height for lung in lungs)
    pixels = float(np.median(moved))
    all_round = np.min(moved * np.sign(pixels)) >= least / 2
    return pixels if all_round and abs(pixels) >= least else 0.0


def _quarters(lung: ReferenceLung, missed: Region, extra: Region) -> list[float]:
    """By how many pixels the edge moved outwards in each quarter around the box's centre."""
    top, bottom, first, last = lung.box
    y, x = (top + bottom) // 2, (first + last) // 2
    margin = max(lung.height, lung.width) // 4
    mask = lung.mask.astype(np.uint8)
    kernel, outside = np.ones((3, 3), np.uint8), cv2.BORDER_CONSTANT
    edge = mask - cv2.erode(mask, kernel, borderType=outside, borderValue=0)
    found = []
    for rows in (slice(max(top - margin, 0), y), slice(y, bottom + margin)):
        for columns in (slice(max(first - margin, 0), x), slice(x, last + margin)):
            quarter = rows, columns
            out = int(np.count_nonzero(extra[quarter]))
            into = int(np.count_nonzero(missed[quarter] & lung.mask[quarter]))
            found.append((out - into) / max(int(np.count_nonzero(edge[quarter])), 1))
    return found
