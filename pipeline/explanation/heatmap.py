"""A map over a radiograph, with the outline of the predicted lung.

The colours are cividis (Nunez, Anderton, Renslow 2018, doi 10.1371/journal.pone.0199239), which
reads the same with and without colour blindness: blue is little, yellow is much.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.overlay import SIDE, Mask, Picture, fit_picture
from pipeline.pictures.strips import colour_share

OPACITY = 0.15, 0.65
"""Of the colour where the map is 0 and where it is largest, so that the anatomy stays readable."""

HALO, LINE_COLOUR = (0, 0, 0), (255, 255, 255)


def draw_heatmap(
    radiograph: Picture, heat: NDArray[np.float64], prediction: Mask, side: int = SIDE
) -> Picture:
    """An RGB picture (h, w, 3) whose shorter side is `side`.

    `radiograph` is uint8 (H, W); `heat`, 0 and more, and `prediction`, 0 and 1, are of any
    resolution, in the same frame. The largest value of `heat` has the last colour.
    """
    fitted = fit_picture(radiograph, side)
    size = fitted.shape[1], fitted.shape[0]
    grey = cv2.cvtColor(fitted, cv2.COLOR_GRAY2RGB)
    spread = cv2.resize(heat / max(float(heat.max()), 1e-12), size, interpolation=cv2.INTER_LINEAR)
    level = np.rint(spread.clip(0, 1) * 255).astype(np.uint8)
    colours = colour_share(level)
    opacity = (OPACITY[0] + (OPACITY[1] - OPACITY[0]) * level / 255)[..., None]
    canvas: Picture = np.rint(grey * (1 - opacity) + colours * opacity).astype(np.uint8)
    share = cv2.resize(prediction.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    found = (share >= 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(found, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, HALO, 4, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, LINE_COLOUR, 2, cv2.LINE_AA)
    return canvas
