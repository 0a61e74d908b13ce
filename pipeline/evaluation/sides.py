"""The patient's left and right lung, told apart by a line through the picture.

The midline is the column halfway between the centroids of the two largest parts of the reference
mask, if the second is at least a tenth of the first; otherwise it is the middle of the picture. The
patient's right lung is what lies left of it, as radiographs are hung; nothing in a PNG file says
that one is mirrored. The same line divides the prediction.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SECOND_PART = 0.1
"""Least area of a part, as a share of the largest, to be a lung of its own and no stray."""


def midline(truth: NDArray[np.uint8]) -> int:
    """The first column of a reference mask (H, W), values 0 and 1, that is the patient's left."""
    _, _, stats, centroids = cv2.connectedComponentsWithStats(truth, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    first, second = np.argsort(-areas, kind="stable")[:2] if len(areas) > 1 else (0, 0)
    if first == second or areas[second] < SECOND_PART * areas[first]:
        return int(truth.shape[1]) // 2
    middle = float(centroids[1 + first][0] + centroids[1 + second][0]) / 2
    return round(middle + 0.5)


def sides_of(mask: NDArray[np.uint8], column: int) -> dict[str, NDArray[np.uint8]]:
    """The patient's `left` and `right` lung of a mask (H, W), each in the whole picture."""
    left, right = mask.copy(), mask.copy()
    left[:, :column] = 0
    right[:, column:] = 0
    return {"left": left, "right": right}
