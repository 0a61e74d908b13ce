"""The small pictures of a test radiograph: a strip of six panels, and a thumbnail for the gallery.

A strip is one JPEG, so that a report on thousands of radiographs stays small: two rows of three
panels of one size, without letters, because the page that shows it names the panels. Probability
and uncertainty are in the colours of cividis, which reads the same with any colour vision (Nunez,
Anderton and Renslow 2018, doi 10.1371/journal.pone.0199239).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pictures.overlay import (
    COLOURS,
    Area,
    Mask,
    Picture,
    draw_outline,
    draw_overlay,
    fit_picture,
)
from pipeline.pictures.pages import encode_jpeg

PANELS = ("radiograph", "annotation", "prediction", "errors", "probability", "uncertainty")
"""The panels of a strip, row by row from the left."""
ACROSS = 3  # panels of a row
PANEL_SIDE = 208  # pixels of the shorter side
THUMBNAIL = 72  # pixels of both sides
SHEET_ACROSS, SHEET_SIZE = 10, 100  # thumbnails of a row and of a sheet
ERROR_OPACITY = 0.8
STRIP_QUALITY, THUMBNAIL_QUALITY = 78, 72  # of JPEG, in percent


def draw_strip(radiograph: Picture, truth: Mask, prediction: Mask, probability: Picture) -> Picture:
    """The six panels of a radiograph as one RGB picture (2 h, 3 w, 3).

    `radiograph` is uint8 (H, W); the masks are (h', w') with values 0 and 1, and `probability` is
    255 times the probability of lung, uint8 (h', w').
    """
    likely = fit_picture(probability, PANEL_SIDE)
    panels = (
        cv2.cvtColor(fit_picture(radiograph, PANEL_SIDE), cv2.COLOR_GRAY2RGB),
        draw_outline(radiograph, truth, "reference", PANEL_SIDE),
        draw_outline(radiograph, prediction, "predicted", PANEL_SIDE),
        draw_overlay(radiograph, truth, prediction, PANEL_SIDE, line=1),
        colour_share(_match(likely, radiograph)),
        colour_share(_match(_ENTROPY[likely], radiograph)),
    )
    rows = (np.hstack(panels[start : start + ACROSS]) for start in range(0, len(panels), ACROSS))
    return np.vstack(list(rows))


def cut_panel(strip: Picture, name: str) -> Picture:
    """One panel of a strip, RGB (h, w, 3)."""
    row, column = divmod(PANELS.index(name), ACROSS)
    height, width = strip.shape[0] * ACROSS // len(PANELS), strip.shape[1] // ACROSS
    return strip[row * height : (row + 1) * height, column * width : (column + 1) * width]


def colour_share(share: Picture) -> Picture:
    """A share of 0 to 1, given as uint8 (H, W) of 0 to 255, in colours: RGB (H, W, 3)."""
    coloured: Picture = cv2.cvtColor(
        cv2.applyColorMap(share, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB
    )
    return coloured


def draw_scale() -> Picture:
    """The colours from 0 (left) to 1, for a legend; RGB (16, 256, 3)."""
    return colour_share(np.tile(np.arange(256, dtype=np.uint8), (16, 1)))


def _match(picture: Picture, radiograph: Picture) -> Picture:
    """A panel of the mask's frame in the size of the radiograph's panels."""
    size = fit_picture(radiograph, PANEL_SIDE).shape
    if picture.shape == size:
        return picture
    matched: Picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    return matched


def _entropy_table() -> Picture:
    """Of each probability in steps of 1 / 255: its entropy in bits, times 255."""
    share = np.arange(256) / 255
    inside = share[1:-1]
    bits = np.zeros(256)
    bits[1:-1] = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
    return np.rint(255 * bits).astype(np.uint8)


_ENTROPY = _entropy_table()


def draw_thumbnail(radiograph: Picture, truth: Mask, prediction: Mask) -> Picture:
    """The radiograph in a square on black, what is missed or extra in colour; RGB uint8."""
    scale = THUMBNAIL / max(radiograph.shape)
    height, width = (max(1, round(side * scale)) for side in radiograph.shape)
    grey = cv2.resize(radiograph, (width, height), interpolation=cv2.INTER_AREA)
    picture = np.repeat(grey[:, :, np.newaxis], 3, axis=2).astype(np.float32)
    lung, found = truth.astype(bool), prediction.astype(bool)
    errors: dict[Area, NDArray[np.bool_]] = {"missed": lung & ~found, "extra": found & ~lung}
    for kind, area in errors.items():
        share = cv2.resize(area.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        weight = ERROR_OPACITY * share[:, :, np.newaxis]
        picture += weight * (np.array(COLOURS[kind], np.float32) - picture)
    square = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    top, left = (THUMBNAIL - height) // 2, (THUMBNAIL - width) // 2
    square[top : top + height, left : left + width] = np.rint(picture)
    return square


def join_thumbnails(thumbnails: Sequence[Picture]) -> list[bytes]:
    """Sheets of SHEET_SIZE thumbnails, row by row, SHEET_ACROSS in a row; JPEG."""
    return [
        encode_jpeg(_sheet(thumbnails[start : start + SHEET_SIZE]), THUMBNAIL_QUALITY)
        for start in range(0, len(thumbnails), SHEET_SIZE)
    ]


def _sheet(thumbnails: Sequence[Picture]) -> Picture:
    rows = -(-len(thumbnails) // SHEET_ACROSS)
    sheet = np.zeros((rows * THUMBNAIL, SHEET_ACROSS * THUMBNAIL, 3), np.uint8)
    for place, thumbnail in enumerate(thumbnails):
        row, column = divmod(place, SHEET_ACROSS)
        sheet[
            row * THUMBNAIL : (row + 1) * THUMBNAIL, column * THUMBNAIL : (column + 1) * THUMBNAIL
        ] = thumbnail
    return sheet
