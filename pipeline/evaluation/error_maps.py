"""Where in the lungs a model errs: the share of radiographs in which each place is missed or extra.

Radiographs are laid over one another by the box around their reference lungs, so that apex lies on
apex and costophrenic angle on costophrenic angle, whatever the size of the patient. What is inside
of the box is not bent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = 96  # places along each side of a map
MARGIN = 0.15  # of the box's height and width, on each side: where extra lung is marked


class AlignedErrors(NamedTuple):
    """One radiograph on the grid; each uint8 (GRID, GRID), 0 or 1."""

    lung: NDArray[np.uint8]
    missed: NDArray[np.uint8]
    extra: NDArray[np.uint8]


@dataclass(frozen=True)
class ErrorMap:
    """Shares of the radiographs of a class at each place, float64 (GRID, GRID), 0..1."""

    cases: int
    lung: NDArray[np.float64]
    missed: NDArray[np.float64]
    extra: NDArray[np.float64]


def align_errors(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> AlignedErrors | None:
    """The errors of two masks (H, W), values 0 and 1, on the grid; None without reference lung."""
    left, top, width, height = cv2.boundingRect(truth)
    if not width:
        return None
    scale = GRID / (1 + 2 * MARGIN)
    across, down = scale / width, scale / height
    # From the centre of a pixel to the centre of its place on the grid.
    shift = GRID * MARGIN / (1 + 2 * MARGIN) - 0.5
    place = np.array(
        [
            [across, 0, shift - (left - 0.5) * across],
            [0, down, shift - (top - 0.5) * down],
        ]
    )
    lung, found = (
        cv2.warpAffine(mask, place, (GRID, GRID), flags=cv2.INTER_NEAREST)
        for mask in (truth, prediction)
    )
    return AlignedErrors(lung, lung & (1 - found), found & (1 - lung))


def average_errors(aligned: Iterable[AlignedErrors]) -> ErrorMap | None:
    """The map of these radiographs; None when there are none."""
    total = np.zeros((len(AlignedErrors._fields), GRID, GRID), np.int64)
    cases = 0
    for one in aligned:
        total += np.stack(one)
        cases += 1
    return ErrorMap(cases, *(total / cases)) if cases else None
