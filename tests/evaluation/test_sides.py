from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipeline.evaluation.sides import midline, sides_of


def lungs(*ellipses: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    mask = np.zeros((100, 120), np.uint8)
    for x, y, across, down in ellipses:
        cv2.ellipse(mask, (x, y), (across, down), 0, 0, 360, 1, cv2.FILLED)
    return mask


@pytest.mark.parametrize(
    ("mask", "column"),
    [
        (lungs((30, 50, 15, 30), (80, 50, 15, 30)), 55),
        (lungs((30, 50, 15, 30), (80, 50, 15, 30), (110, 5, 2, 2)), 55),  # a stray part
        (lungs((30, 50, 15, 30)), 60),
        (lungs((30, 50, 15, 30), (90, 50, 4, 5)), 60),  # too small for a lung
        (lungs((30, 50, 20, 30), (80, 50, 20, 30), (55, 50, 30, 3)), 60),  # joined
        (lungs(), 60),
    ],
)
def test_the_midline_is_between_the_two_largest_parts(mask: NDArray[np.uint8], column: int) -> None:
    assert midline(mask) == pytest.approx(column, abs=1)


def test_the_patients_right_lung_is_at_the_left_of_the_picture() -> None:
    mask = lungs((30, 50, 15, 30), (80, 50, 10, 30))

    sides = sides_of(mask, midline(mask))

    assert sides["right"].sum() > sides["left"].sum() > 0
    assert not sides["right"][:, 60:].any()


@given(arrays(np.uint8, (9, 14), elements=st.integers(0, 1)))
def test_each_pixel_is_of_one_lung(mask: NDArray[np.uint8]) -> None:
    sides = sides_of(mask, midline(mask))

    assert np.array_equal(sides["left"] + sides["right"], mask)
