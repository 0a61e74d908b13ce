from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.pictures.strips import (
    PANEL_SIDE,
    PANELS,
    SHEET_ACROSS,
    THUMBNAIL,
    cut_panel,
    draw_strip,
    draw_thumbnail,
    join_thumbnails,
)


def case(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A radiograph, and masks of 64 x 64 of which the left half and the lower half are lung."""
    radiograph = np.full((height, width), 90, np.uint8)
    truth, prediction = np.zeros((2, 64, 64), np.uint8)
    truth[:, :32], prediction[32:] = 1, 1
    return radiograph, truth, prediction, (prediction * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(80, 80), (90, 150), (150, 90)])
def test_the_panels_of_a_strip_are_of_the_radiograph_s_shape(size: tuple[int, int]) -> None:
    strip = draw_strip(*case(*size))

    shapes = {cut_panel(strip, name).shape for name in PANELS}
    (shape,) = shapes
    assert min(shape[:2]) == PANEL_SIDE
    assert abs(shape[0] / shape[1] - size[0] / size[1]) < 0.01


def test_probability_and_uncertainty_are_coloured_by_their_values() -> None:
    radiograph, truth, prediction, _ = case(80, 80)
    probability = np.zeros((64, 64), np.uint8)
    probability[:, 22:43], probability[:, 43:] = 128, 255

    strip = draw_strip(radiograph, truth, prediction, probability)

    likely, unsure = cut_panel(strip, "probability"), cut_panel(strip, "uncertainty")
    middle = PANEL_SIDE // 2
    dark, bright = likely[middle, 5].tolist(), likely[middle, -5].tolist()
    assert unsure[middle, 5].tolist() == unsure[middle, -5].tolist() == dark
    assert unsure[middle, middle].tolist() == bright
    assert sum(dark) < sum(bright)


def test_a_thumbnail_is_square_and_shows_errors_in_colour() -> None:
    thumbnail = draw_thumbnail(*case(80, 160)[:3])

    assert thumbnail.shape == (THUMBNAIL, THUMBNAIL, 3)
    assert not thumbnail[:15].any()
    red, _, blue = thumbnail[THUMBNAIL // 2 - 10, THUMBNAIL // 4].tolist()
    assert red > blue
    red, _, blue = thumbnail[THUMBNAIL // 2 + 10, 3 * THUMBNAIL // 4].tolist()
    assert blue > red


def test_sheets_hold_the_thumbnails_row_by_row() -> None:
    thumbnails = [np.full((THUMBNAIL, THUMBNAIL, 3), 2 * n, np.uint8) for n in range(103)]

    first, second = (
        cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
        for sheet in join_thumbnails(thumbnails)
    )

    assert first.shape == (10 * THUMBNAIL, SHEET_ACROSS * THUMBNAIL, 3)
    assert abs(int(first[THUMBNAIL + 9, 2 * THUMBNAIL + 9, 0]) - 24) <= 2
    assert second.shape[0] == THUMBNAIL
    assert abs(int(second[9, 9, 0]) - 200) <= 2
