from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.mask_labels import lung_of_mask

LEFT, RIGHT = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
LEFT[10:50, 8:28], RIGHT[10:50, 34:56] = 1, 1
LUNG = LEFT + RIGHT
MIDDLE = np.zeros((64, 64), np.uint8)
MIDDLE[36:56, 24:44] = 1


def refused(levels: NDArray[Any]) -> str:
    with pytest.raises(UnreadableError) as caught:
        lung_of_mask(levels)
    assert caught.value.reason in ("mask_values", "not_grayscale")
    return str(caught.value)


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 1), (np.uint8, 255), (np.uint16, 65535)])
def test_usual_masks_have_no_labels(kind: type, top: int) -> None:
    lung, labels = lung_of_mask(LUNG.astype(kind) * top)

    np.testing.assert_array_equal(lung, LUNG)
    assert lung.dtype == np.uint8
    assert labels == ()


@pytest.mark.parametrize("label", [2, 127, 254, 4095])
def test_any_one_label_is_lung(label: int) -> None:
    lung, labels = lung_of_mask(LUNG.astype(np.uint16) * label)

    np.testing.assert_array_equal(lung, LUNG)
    assert labels == (label,)


@pytest.mark.parametrize("labels", [(1, 2), (2, 1), (127, 255), (128, 255), (255, 85), (1, 3)])
def test_two_labels_that_are_a_left_and_a_right_lung_are_lung(labels: tuple[int, int]) -> None:
    lung, found = lung_of_mask(LEFT * np.uint8(labels[0]) + RIGHT * np.uint8(labels[1]))

    np.testing.assert_array_equal(lung, LUNG)
    assert found == tuple(sorted(labels))


def test_lungs_that_touch_or_differ_in_size_are_lungs() -> None:
    small = RIGHT.copy()
    small[20:] = 0

    assert lung_of_mask(LEFT + small * np.uint8(2))[1] == (1, 2)
    wide = np.pad(np.repeat(np.uint8([[1, 2]]), 30, axis=1).repeat(60, axis=0), 2)
    assert lung_of_mask(wide)[1] == (1, 2)


def test_colours_on_black_are_labels_too() -> None:
    stored = np.zeros((64, 64, 3), np.uint8)
    stored[LEFT == 1], stored[RIGHT == 1] = (128, 0, 0), (0, 128, 0)

    lung, labels = lung_of_mask(stored)

    np.testing.assert_array_equal(lung, LUNG)
    assert labels == (1, 2)


def test_labels_in_one_channel_are_labels() -> None:
    stored = np.zeros((64, 64, 3), np.uint8)
    stored[..., 0] = LEFT + RIGHT * np.uint8(2)

    lung, labels = lung_of_mask(stored)

    np.testing.assert_array_equal(lung, LUNG)
    assert labels == (1, 2)


def test_a_mask_that_is_a_level_off_in_one_channel_is_the_usual_one() -> None:
    stored = np.stack([LUNG * np.uint8(255)] * 3, axis=-1)
    stored[20, 20, 2] = 254

    assert lung_of_mask(stored)[1] == ()


def soft(mask: NDArray[Any]) -> NDArray[Any]:
    return mask * np.uint8(2) - (mask - cv2.erode(mask, np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize(
    "stored",
    [
        LUNG + (MIDDLE * LUNG),
        np.where(MIDDLE == 1, 2, LUNG).astype(np.uint8),
        soft(LUNG),
        soft(LEFT),
        np.where(soft(LUNG) == 1, 128, LUNG * 255).astype(np.uint8),
        np.where(LEFT, 1, 0).astype(np.uint8) + np.roll(LEFT, 25, axis=0) * np.uint8(2),
    ],
    ids=["opacity", "heart", "soft edges", "soft edge", "half grey edges", "above each other"],
)
def test_a_second_label_that_is_no_lung_is_refused(stored: NDArray[Any]) -> None:
    assert "expected only 0 and 255; export the lungs alone" in refused(stored)


def test_speckles_are_no_second_lung() -> None:
    stored = LEFT.copy()
    stored[5, 50] = 2

    assert "which are not a left and a right lung" in refused(stored)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (LUNG + 1, "mask has the values 1, 2, expected 0 for what is no lung"),
        (LEFT + RIGHT * np.uint8(2) + MIDDLE * np.uint8(4), "values (0, 1, 2, 4, 5, 6"),
        (
            np.arange(4096).reshape(64, 64).astype(np.uint16),
            "mask has 4096 values (0, 1, 2, 3, 4, 5..",
        ),
    ],
)
def test_more_values_or_no_background_are_refused(levels: NDArray[Any], said: str) -> None:
    assert said in refused(levels)


def test_a_colour_picture_is_no_mask() -> None:
    dice = np.random.default_rng(0)

    assert "mask is a colour picture" in refused(
        dice.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    )


def test_colours_without_black_are_refused() -> None:
    stored = np.zeros((64, 64, 3), np.uint8)
    stored[:] = (255, 250, 200)
    stored[LUNG == 1] = (200, 0, 0)

    assert "expected 0 for what is no lung" in refused(stored)
