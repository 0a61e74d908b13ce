"""How well the border of a predicted lung fits the border of the reference.

The border of a mask is the mask without its erosion by a 4-connected cross; beyond the picture is
background. Distances are Euclidean between the centres of pixels, from each border pixel of one
mask to the nearest of the other, and both directions are pooled:

    hd95  95th percentile, interpolated linearly, pixels  Huttenlocher 1993, doi 10.1109/34.232073
    assd  mean, pixels                                Heimann 2009, doi 10.1109/TMI.2009.2013851
    nsd   share of at most 2 pixels                   Nikolov 2021, doi 10.2196/26151

Tools differ in each of these choices (Podobnik and Vrtovec 2024, arXiv 2410.02630). Two empty masks
agree fully: distances 0, nsd 1. Where only one is empty the distances are the picture's diagonal
and nsd is 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

NSD_TOLERANCE = 2.0
"""Pixels."""
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


class BorderScores(NamedTuple):
    """How far the borders of two masks lie apart."""

    hd95: float
    """Pixels."""
    assd: float
    """Pixels."""
    nsd: float
    """0..1."""


def border_scores(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> BorderScores:
    """Compare the borders of two masks (H, W) of one size, values 0 and 1."""
    found, lung = bool(prediction.any()), bool(truth.any())
    if not (found and lung):
        apart = 0.0 if found == lung else math.hypot(*truth.shape)
        return BorderScores(apart, apart, float(found == lung))
    # Nothing outside of the box of both borders is near to any of them.
    x, y, width, height = cv2.boundingRect(prediction | truth)
    box = (slice(y, y + height), slice(x, x + width))
    ours, theirs = border_of(prediction[box]), border_of(truth[box])
    distances = np.concatenate([_to(theirs)[ours], _to(ours)[theirs]])
    return BorderScores(
        hd95=float(np.percentile(distances, 95)),
        assd=float(distances.mean()),
        nsd=float(np.mean(distances <= NSD_TOLERANCE)),
    )


def border_of(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The border pixels of a mask (H, W), values 0 and 1."""
    inner = cv2.erode(mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border: NDArray[np.bool_] = mask > inner
    return border


def _to(border: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The distance of each pixel to the nearest one of a border."""
    rounded = cv2.distanceTransform(
        (~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    ).astype(np.float64)
    # OpenCV computes in 32 bits; between pixels the square is a whole number.
    exact: NDArray[np.float64] = np.sqrt(np.rint(rounded**2))
    return exact
