"""The lung in a mask file: of two values, or with labels that are few and exact.

Labels are taken for lung only where they can be nothing else: one label beside the background, or
two that are a left and a right lung. Any other second label may be the heart, an opacity or the
soft edge of a mask that was resized.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.errors import UnreadableError
from pipeline.radiograph.channels import (
    NEARLY,
    Levels,
    channels_agree,
    middle_channel,
    opaque_channels,
)
from pipeline.radiograph.grey import Grey

USUAL = (0, 1, 255, 65535)
"""How masks of two values call the lung, or that there is none."""
FEW = 8
"""Colours beside black that are taken for labels and not for a picture."""
OWN_SIDE = 0.95
"""Share of a lung on its own side of the middle between both; two lungs touch at most."""
INSIDE = 0.5
"""Share of a label that has none but itself around it; of a soft edge it is none."""
SMALLER = 0.1
"""Of the larger lung's area, what a diseased one keeps at least."""


def lung_of_mask(levels: Levels) -> tuple[Grey, tuple[int, ...]]:
    """The lung of a decoded mask (H, W) or (H, W, 3 or 4), and the labels it was made of.

    The lung is uint8 (H, W), 1 lung and 0 background. No labels are given for the usual masks,
    which hold 0 and 255, 1 or 65535; colours are numbered. Raises UnreadableError.
    """
    numbers = _numbers(opaque_channels(levels))
    top = int(numbers.max())
    lung = numbers > 0
    if top in USUAL and np.count_nonzero(numbers == top) == np.count_nonzero(lung):
        return lung.astype(np.uint8), ()
    labels = np.flatnonzero(np.bincount(numbers.ravel())).tolist()
    _refuse_unclear(numbers, labels)
    return lung.astype(np.uint8), tuple(label for label in labels if label)


def _numbers(channels: Sequence[Levels]) -> Levels:
    """The grey levels, or the numbers of the colours: 0 for black, then as they come."""
    if channels_agree(channels):
        return channels[0]
    middle = middle_channel(channels)
    # Labels below NEARLY would vanish in the middle: red 1 and green 2 are two labels.
    if middle is not None and int(middle.max()) > 2 * NEARLY:
        return middle
    red, green, blue = (channel.astype(np.int64) for channel in channels)
    colours = (red << 32) + (green << 16) + blue
    numbers = np.zeros(colours.shape, np.uint8)
    while (rest := (numbers == 0) & (colours != 0)).any():
        number = int(numbers.max()) + 1
        if number > FEW:
            raise UnreadableError(
                "not_grayscale", "mask is a colour picture, expected grey; export it as 0 and 255"
            )
        numbers[colours == colours.flat[np.argmax(rest)]] = number
    return numbers


def _refuse_unclear(numbers: Levels, labels: list[int]) -> None:
    values = ", ".join(map(str, labels[:6])) + ("..." if len(labels) > 6 else "")
    if labels[0] != 0 and len(labels) > 1:
        raise UnreadableError(
            "mask_values",
            f"mask has the values {values}, expected 0 for what is no lung; export it as 0 and 255",
        )
    if len(labels) <= 2:
        return
    if len(labels) > 3:
        raise UnreadableError(
            "mask_values",
            f"mask has {len(labels)} values ({values}), expected only 0 and 255; export the lungs "
            "alone, without smoothing",
        )
    if not _left_and_right(numbers == labels[1], numbers == labels[2]):
        raise UnreadableError(
            "mask_values",
            f"mask has the values {values}, which are not a left and a right lung, expected only 0 "
            "and 255; export the lungs alone, without smoothing",
        )


def _left_and_right(one: Levels, other: Levels) -> bool:
    """Whether two labels, (H, W) each, are one lung on either side."""
    areas = [int(np.count_nonzero(label)) for label in (one, other)]
    if min(areas) < SMALLER * max(areas):
        return False
    columns = [label.sum(axis=0) for label in (one, other)]
    places = np.arange(one.shape[1])
    centres = [
        float((column * places).sum()) / area for column, area in zip(columns, areas, strict=True)
    ]
    left, right = columns if centres[0] < centres[1] else columns[::-1]
    middle = round(sum(centres) / 2)
    return (
        left[:middle].sum() >= OWN_SIDE * left.sum()
        and right[middle:].sum() >= OWN_SIDE * right.sum()
        and all(_inside(label) >= INSIDE for label in (one, other))
    )


def _inside(label: Levels) -> float:
    whole = label.astype(np.uint8)
    inner = cv2.erode(
        whole, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return float(np.count_nonzero(inner) / np.count_nonzero(whole))
