"""Draw where a predicted mask and the reference mask agree and where they do not.

Area and line say the same thing twice, by colour and by form, so that the drawing can be read with
any colour vision and in a grey print: the reference is a solid line and the prediction a dashed
one, the hatching of missed lung rises and that of extra area falls. The colours are from the
palette of Okabe and Ito (Color Universal Design, 2008), made to stay apart in protanopia and
deuteranopia.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Colour = tuple[int, int, int]
Area = Literal["agreement", "missed", "extra"]
Outline = Literal["reference", "predicted"]

SIDE = 640  # pixels of the shorter side: readable on a desktop screen and in print

COLOURS: dict[Area, Colour] = {
    "agreement": (86, 180, 233),  # sky blue, kept light so that the anatomy shows through
    "missed": (230, 159, 0),  # orange
    "extra": (0, 114, 178),  # blue
}
REFERENCE: Colour = (255, 255, 255)
PREDICTED: Colour = (0, 0, 0)
PREDICTED_ALONE: Colour = (240, 228, 66)  # yellow of the same palette

ANSWERS: tuple[tuple[Colour, int], ...] = (
    ((240, 228, 66), 0),
    ((86, 180, 233), 18),
    ((204, 121, 167), 8),
    ((0, 158, 115), 30),
    ((230, 159, 0), 12),
)
"""Of several answers to one radiograph, in turn: colours of the same palette, and the length of a
dash with the gap behind it, pixels; 0 for a line without gaps."""

AGREEMENT_OPACITY = 0.14
STRIPE_OPACITY, GAP_OPACITY = 0.7, 0.3  # a lobe that is missed whole can still be read
STRIPE = 5  # pixels; about two pixels of a 256 x 256 mask at the default size
DASH = 9  # pixels
LINE = 2  # pixels


def draw_overlay(
    radiograph: Picture, truth: Mask, prediction: Mask, side: int = SIDE, line: int = LINE
) -> Picture:
    """An RGB picture (h, w, 3) of the radiograph with both masks; its shorter side is `side`.

    `radiograph` is uint8 (H, W); `truth` and `prediction` are (h', w') with values 0 and 1, in
    the same frame at any resolution; outlines are `line` pixels wide.
    """
    size = _scaled(radiograph.shape, side)
    canvas: Picture = cv2.cvtColor(_resize(radiograph, size), cv2.COLOR_GRAY2RGB)
    lung, found = _enlarge(truth, size), _enlarge(prediction, size)
    _fill(canvas, lung & found, "agreement")
    _fill(canvas, lung & ~found, "missed")
    _fill(canvas, found & ~lung, "extra")
    for contour in _contours(lung):
        _line(canvas, contour, line)
    for contour in _contours(found):
        _dashes(canvas, contour, line)
    return canvas


def draw_outline(radiograph: Picture, mask: Mask, kind: Outline, side: int) -> Picture:
    """An RGB picture (h, w, 3) of the radiograph with a thin outline of one mask.

    Alone, a prediction is outlined in a colour that shows on dark lung, too.
    """
    size = _scaled(radiograph.shape, side)
    canvas: Picture = cv2.cvtColor(_resize(radiograph, size), cv2.COLOR_GRAY2RGB)
    colour = REFERENCE if kind == "reference" else PREDICTED_ALONE
    cv2.polylines(canvas, _contours(_enlarge(mask, size)), True, colour, 1, cv2.LINE_AA)
    return canvas


def draw_answers(radiograph: Picture, truth: Mask, answers: Sequence[Mask], side: int) -> Picture:
    """An RGB picture (h, w, 3) of the radiograph with the outlines of several answers to it.

    Over a thin white one of the reference. `radiograph` is uint8 (H, W); the masks are (h', w')
    with values 0 and 1.
    """
    canvas = draw_outline(radiograph, truth, "reference", side)
    size = (canvas.shape[0], canvas.shape[1])
    for place, answer in enumerate(answers):
        for contour in _contours(_enlarge(answer, size)):
            _answer_line(canvas, contour, place)
    return canvas


def draw_answer_swatch(place: int) -> Picture:
    """A sample of the outline of an answer for the legend; RGB (32, 64, 3)."""
    canvas = np.full((32, 64, 3), 110, np.uint8)
    _answer_line(canvas, np.array([[[x, 16]] for x in range(64)], np.int32), place, closed=False)
    return canvas


def _answer_line(
    canvas: Picture, contour: NDArray[np.int32], place: int, closed: bool = True
) -> None:
    colour, _ = ANSWERS[place % len(ANSWERS)]
    _, period = ANSWERS[(place + place // len(ANSWERS)) % len(ANSWERS)]  # colours come again
    if not period:
        cv2.polylines(canvas, [contour], closed, colour, LINE, cv2.LINE_AA)
        return
    starts = range(0, len(contour), period)
    dashes = [contour[start : start + period - period // 3] for start in starts]
    cv2.polylines(canvas, dashes, False, colour, LINE, cv2.LINE_AA)


def fit_picture(picture: Picture, side: int) -> Picture:
    """A grey picture, uint8 (h, w), whose shorter side is `side`."""
    return _resize(picture, _scaled(picture.shape, side))


def shrink_radiograph(radiograph: Picture, side: int = SIDE) -> Picture:
    """The plain radiograph, uint8 (h, w), no larger than its overlay; a small one stays as is."""
    if min(radiograph.shape) <= side:
        return radiograph
    return _resize(radiograph, _scaled(radiograph.shape, side))


def draw_swatch(kind: Area | Outline) -> Picture:
    """A sample for the legend, drawn as in an overlay on plain grey; RGB (32, 64, 3)."""
    canvas = np.full((32, 64, 3), 110, np.uint8)
    across = np.array([[[x, 16]] for x in range(64)], np.int32)
    if kind == "reference":
        _line(canvas, across, closed=False)
    elif kind == "predicted":
        _dashes(canvas, across)
    else:
        right = np.tile(np.arange(64) >= 16, (32, 1))  # beside the plain grey, to compare
        _fill(canvas, right, kind)
    return canvas


def _scaled(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    scale = side / min(shape)
    return round(shape[0] * scale), round(shape[1] * scale)


def _resize(radiograph: Picture, size: tuple[int, int]) -> Picture:
    smooth = cv2.INTER_CUBIC if size[0] > radiograph.shape[0] else cv2.INTER_AREA
    resized: Picture = cv2.resize(radiograph, size[::-1], interpolation=smooth)
    return resized


def _enlarge(mask: Mask, size: tuple[int, int]) -> NDArray[np.bool_]:
    # Linear, then halved: the outline is smooth and no single pixel of the mask gets lost.
    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    enlarged: NDArray[np.bool_] = share >= 0.5
    return enlarged


def _fill(canvas: Picture, area: NDArray[np.bool_], kind: Area) -> None:
    y, x = np.nonzero(area)
    if kind == "agreement":
        opacity = np.full(len(x), AGREEMENT_OPACITY)
    else:
        position = x + y if kind == "missed" else x - y
        opacity = np.where(position // STRIPE % 2 == 0, STRIPE_OPACITY, GAP_OPACITY)
    weight = opacity[:, None]
    canvas[y, x] = np.rint(canvas[y, x] * (1 - weight) + np.array(COLOURS[kind]) * weight)


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return list(contours)


def _line(
    canvas: Picture, contour: NDArray[np.int32], line: int = LINE, closed: bool = True
) -> None:
    cv2.polylines(canvas, [contour], closed, REFERENCE, line, cv2.LINE_AA)


def _dashes(canvas: Picture, contour: NDArray[np.int32], line: int = LINE) -> None:
    dashes = [contour[start : start + DASH] for start in range(0, len(contour), 2 * DASH)]
    cv2.polylines(canvas, dashes, False, PREDICTED, line, cv2.LINE_AA)
