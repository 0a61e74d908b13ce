"""Occlusion: how much the answer falls when a patch of the radiograph is covered.

Zeiler, Fergus: "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901,
with the mean probability within the predicted lung in the place of a class's. The exported network
is asked, and no gradient is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.segmenter import Segmenter
from pipeline.radiograph.grey import Grey

GRID = 9
"""Patches along a side; with the check a map takes 124 answers of a network, most of the time."""

CHECKED = slice(0, None, 2)
"""The patches that the check asks the shuffled network about: every second, as on a chessboard."""


def occlusion_drops(
    predictor: Segmenter,
    image: Grey,
    lung: NDArray[np.bool_],
    which: slice = slice(None),
    convention: str | None = None,
) -> NDArray[np.float64]:
    """The fall of the mean probability within `lung` for each patch of `which`, row by row: (n,).

    `image` uint8 and `lung`, not empty, are (S, S), of the network's size. A patch is covered with
    the mean grey of the square of three by three patches around it. Negative where the mean rises.
    The answers are in `convention`, by default the network's first.
    """
    patches = list(_patches(image.shape[0]))[which]
    pictures = [image, *(_cover(image, patch) for patch in patches)]
    asked = None if convention is None else [convention] * len(pictures)
    answers = predictor.predict(pictures, None, asked)
    before, *after = (float(found[lung].mean()) for found in answers)
    return before - np.array(after)


def spread_drops(drops: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The drops of all patches as a picture (side, side), each over its own patch."""
    spread = np.zeros((side, side))
    for drop, patch in zip(drops, _patches(side), strict=True):
        spread[patch] = drop
    return spread


def _patches(side: int) -> Iterator[tuple[slice, slice]]:
    edges = np.rint(np.linspace(0, side, GRID + 1)).astype(int).tolist()
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    yield from ((rows, columns) for rows in parts for columns in parts)


def _cover(image: Grey, patch: tuple[slice, slice]) -> Grey:
    around = tuple(
        slice(max(2 * part.start - part.stop, 0), 2 * part.stop - part.start) for part in patch
    )
    covered = image.copy()
    covered[patch] = np.rint(image[around].mean())
    return covered
