from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.pictures.overlay import (
    ANSWERS,
    SIDE,
    Area,
    draw_answer_swatch,
    draw_answers,
    draw_overlay,
    draw_swatch,
    shrink_radiograph,
)

# Machado, Oliveira and Fernandes 2009, doi 10.1109/TVCG.2009.113: severity 1, on linear RGB.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def lab(colours: NDArray[np.uint8], vision: str) -> NDArray[np.float32]:
    """Colours (N, 3) as CIELAB (N, 3), as somebody with this vision sees them."""
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = (linear @ VISIONS[vision].T).clip(0, 1)
    shown = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return np.asarray(cv2.cvtColor(shown.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0])


def draw_areas(grey: int) -> dict[str, NDArray[np.uint8]]:
    """The pixels (N, 3) inside each area of an overlay on an even radiograph."""
    truth, prediction = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    truth[:, 16:48] = 1
    prediction[:, 32:] = 1
    overlay = draw_overlay(np.full((64, 64), grey, np.uint8), truth, prediction, side=640)
    starts = {"plain": 20, "missed": 180, "agreement": 340, "extra": 500}
    return {
        name: overlay[100:200, start : start + 100].reshape(-1, 3) for name, start in starts.items()
    }


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("grey", [0, 40, 80, 120, 160, 200, 240])
def test_missed_and_extra_area_stay_apart_for_any_colour_vision(vision: str, grey: int) -> None:
    seen = {
        name: lab(np.unique(pixels, axis=0), vision) for name, pixels in draw_areas(grey).items()
    }

    def distance(one: str, other: str) -> float:
        return float(np.linalg.norm(seen[one][:, None] - seen[other][None], axis=-1).min())

    assert distance("missed", "extra") > 30
    assert distance("missed", "agreement") > 20
    assert distance("extra", "plain") > 10


def test_missed_and_extra_area_are_hatched_in_opposite_directions() -> None:
    missed, extra = (draw_swatch(kind)[:, 16:].sum(axis=2) for kind in ("missed", "extra"))

    assert (missed[1:, :-1] == missed[:-1, 1:]).all()
    assert (extra[1:, 1:] == extra[:-1, :-1]).all()
    assert (missed[1:, 1:] != missed[:-1, :-1]).any()


def test_the_anatomy_shows_through_where_the_masks_agree() -> None:
    dark, bright = (draw_areas(grey)["agreement"].mean() for grey in (60, 180))

    assert bright - dark > 0.8 * (180 - 60)


def test_the_anatomy_can_be_read_in_a_lung_that_is_missed_whole() -> None:
    dark, bright = (draw_areas(grey)["missed"].mean() for grey in (60, 180))

    assert bright - dark > 0.4 * (180 - 60)


def test_the_reference_is_a_solid_line_and_the_prediction_a_dashed_one() -> None:
    truth, prediction = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    truth[10:54, 6:30] = 1
    prediction[10:54, 36:60] = 1

    overlay = draw_overlay(np.full((64, 64), 128, np.uint8), truth, prediction, side=640)

    white, black = (overlay == 255).all(axis=2), (overlay == 0).all(axis=2)
    assert white[120:520, 58:62].any(axis=1).all()
    assert 0.3 < black[120:520, 358:362].any(axis=1).mean() < 0.8


@pytest.mark.parametrize(
    ("radiograph", "mask", "expected"),
    [
        ((299, 299), (256, 256), (640, 640)),
        ((60, 90), (64, 64), (640, 960)),
        ((2000, 1600), (2000, 1600), (800, 640)),
    ],
)
def test_an_overlay_has_a_readable_size_whatever_the_radiograph(
    radiograph: tuple[int, int], mask: tuple[int, int], expected: tuple[int, int]
) -> None:
    lung = np.ones(mask, np.uint8)

    overlay = draw_overlay(np.zeros(radiograph, np.uint8), lung, lung)

    assert overlay.shape == (*expected, 3)
    assert overlay.dtype == np.uint8
    assert SIDE >= 512


def test_a_single_differing_pixel_is_drawn() -> None:
    truth, prediction = np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.uint8)
    plain = draw_overlay(np.full((299, 299), 90, np.uint8), truth, prediction)
    prediction[128, 128] = 1

    assert (draw_overlay(np.full((299, 299), 90, np.uint8), truth, prediction) != plain).any()


def test_empty_masks_leave_the_radiograph_as_it_is() -> None:
    empty = np.zeros((64, 64), np.uint8)

    overlay = draw_overlay(np.full((64, 64), 90, np.uint8), empty, empty)

    assert (overlay == 90).all()


def test_a_large_radiograph_is_shrunk_and_a_small_one_stays() -> None:
    assert shrink_radiograph(np.zeros((2000, 1600), np.uint8)).shape == (800, 640)
    assert shrink_radiograph(np.zeros((299, 299), np.uint8)).shape == (299, 299)


def test_every_kind_of_area_and_line_has_a_swatch_of_its_own() -> None:
    kinds = (*get_args(Area), "reference", "predicted")

    assert len({draw_swatch(kind).tobytes() for kind in kinds}) == 5


def test_each_answer_has_an_outline_of_its_own_colour_and_form() -> None:
    swatches = {draw_answer_swatch(place).tobytes() for place in range(len(ANSWERS))}

    assert len(swatches) == len({colour for colour, _ in ANSWERS}) == len(ANSWERS)
    assert len({dash for _, dash in ANSWERS}) == len(ANSWERS)


def test_answers_are_outlined_over_the_reference() -> None:
    truth, inner, outer = (np.zeros((64, 64), np.uint8) for _ in range(3))
    truth[20:44, 20:44], inner[24:40, 24:40], outer[8:56, 8:56] = 1, 1, 1

    picture = draw_answers(np.full((64, 64), 60, np.uint8), truth, [inner, outer], side=320)

    found = {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert {ANSWERS[0][0], ANSWERS[1][0]} <= found
    assert any(min(colour) > 150 for colour in found)  # white, softened
    for answer, column in ((0, 120), (1, 40)):  # the left border of each
        border = picture[130:190, column - 3 : column + 3].reshape(-1, 3)
        assert ANSWERS[answer][0] in {tuple(pixel) for pixel in border.tolist()}


def test_there_may_be_more_answers_than_colours() -> None:
    swatches = {draw_answer_swatch(place).tobytes() for place in range(len(ANSWERS) ** 2)}

    assert len(swatches) == len(ANSWERS) ** 2
