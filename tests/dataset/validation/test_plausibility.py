from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.synthetic import phantom
from pipeline.dataset.validation.plausibility import (
    components,
    left_share,
    mask_flags,
    orientation_flags,
    thumbnail,
)
from pipeline.params import Params
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph

Thumbnails = NDArray[np.float32]


def draw_mask(*boxes: tuple[int, int, int, int], size: int = 100) -> Grey:
    """Rectangles (x, y, width, height) of lung."""
    mask = np.zeros((size, size), np.uint8)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = 1
    return mask


LEFT, RIGHT = (15, 20, 25, 50), (60, 20, 25, 50)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ((LEFT, RIGHT), []),
        ((LEFT, RIGHT, (50, 90, 2, 2)), ["stray_components"]),
        ((LEFT, RIGHT, (10, 80, 30, 15)), ["stray_components"]),
        (((15, 20, 70, 50), (50, 90, 2, 2)), ["stray_components"]),
        (((15, 20, 70, 50),), []),
        ((LEFT,), ["one_lung"]),
        ((RIGHT,), ["one_lung"]),
        (((5, 20, 25, 50), (50, 90, 2, 2)), ["stray_components", "one_lung"]),
        (((30, 30, 8, 20), (62, 30, 8, 20)), ["implausible_area"]),
        (((5, 5, 44, 90), (51, 5, 44, 90)), ["implausible_area"]),
    ],
)
def test_a_mask_is_flagged_for_what_is_odd_about_it(
    boxes: tuple[tuple[int, int, int, int], ...], expected: list[str], params: Params
) -> None:
    assert mask_flags(draw_mask(*boxes), params.validate_) == expected


def test_parts_that_touch_at_a_corner_are_one() -> None:
    assert components(draw_mask((10, 10, 5, 5), (15, 15, 5, 5))) == 1
    assert components(draw_mask((10, 10, 5, 5), (16, 15, 5, 5))) == 2
    assert components(draw_mask()) == 0


@pytest.mark.parametrize(
    ("boxes", "size", "expected"),
    [
        (((0, 0, 5, 5),), 20, 1.0),
        (((15, 0, 5, 5),), 20, 0.0),
        (((0, 0, 5, 3), (15, 0, 5, 1)), 20, 0.75),
        (((10, 0, 1, 5),), 21, 0.5),  # the middle column belongs to both halves
        ((), 20, 0.5),
    ],
)
def test_left_share_is_of_the_lung_area(
    boxes: tuple[tuple[int, int, int, int], ...], size: int, expected: float
) -> None:
    assert left_share(draw_mask(*boxes, size=size)) == expected


@pytest.mark.parametrize("shape", [(64, 64), (299, 299), (500, 333)])
def test_a_thumbnail_has_mean_0_and_variance_1_whatever_the_exposure(
    shape: tuple[int, int],
) -> None:
    pixels = 60 + 30 * np.sin(np.arange(shape[0]) / 40)[:, None] + np.arange(shape[1]) / 20
    image = pixels.astype(np.uint8)
    small = thumbnail(image)

    assert small.shape == (32, 32)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(0, abs=1e-5)
    assert small.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(small.ravel(), thumbnail(image * 2).ravel())[0, 1] > 0.99


def test_a_constant_picture_has_a_thumbnail_of_zeros() -> None:
    assert not thumbnail(np.full((64, 64), 9, np.uint8)).any()


@pytest.fixture(scope="module")
def upright() -> Thumbnails:
    """Synthetic radiographs."""
    pictures = [phantom.radiograph(3, i, "Normal")[0] for i in range(60)]
    return np.stack([thumbnail(picture) for picture in pictures])


def test_upright_radiographs_get_no_flag(upright: Thumbnails) -> None:
    assert orientation_flags(upright) == [[]] * len(upright)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_radiographs_are_flagged_and_no_others(upright: Thumbnails, quarters: int) -> None:
    pictures = upright.copy()
    pictures[[5, 30]] = np.rot90(upright[[5, 30]], quarters, axes=(1, 2))

    flags = orientation_flags(pictures)

    assert {row: found for row, found in enumerate(flags) if found} == {
        5: ["rotated"],
        30: ["rotated"],
    }


def test_a_picture_of_something_else_is_not_frontal(upright: Thumbnails) -> None:
    other = np.zeros((256, 256), np.uint8)
    cv2.circle(other, (128, 128), 90, 180, -1)
    cv2.circle(other, (128, 128), 40, 60, -1)

    flags = orientation_flags(np.concatenate([upright, thumbnail(other)[None]]))

    assert flags == [[]] * len(upright) + [["not_frontal"]]


def test_mirrored_radiographs_are_told_in_a_large_dataset_only(upright: Thumbnails) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, (6, *upright.shape))
    many = (upright + noise).astype(np.float32).reshape(-1, 32, 32)
    many[12] = many[12, :, ::-1]

    assert orientation_flags(many)[12] == ["mirrored"]
    assert not any(orientation_flags(many[:299]))


def test_few_radiographs_get_no_verdict(upright: Thumbnails) -> None:
    few = upright[:19].copy()
    few[3] = np.rot90(few[3])

    assert orientation_flags(few) == [[]] * 19
    assert orientation_flags(few[:0]) == []


def test_equal_pictures_are_no_outliers() -> None:
    same = np.repeat(thumbnail(np.arange(64 * 64).reshape(64, 64).astype(np.uint8))[None], 30, 0)

    assert orientation_flags(same) == [[]] * 30


def test_more_radiographs_than_are_judged_at_once_keep_their_order(upright: Thumbnails) -> None:
    many = np.concatenate([upright] * 40)[:2100]  # more than are judged at once
    many[2050] = np.rot90(many[2050])

    flags = orientation_flags(many)

    assert len(flags) == 2100
    assert "rotated" in flags[2050]


def test_the_stray_parts_of_the_real_masks_are_found(real_data: Path, params: Params) -> None:
    root = real_data / "COVID-19_Radiography_Dataset"
    masks = [read_mask(root / pair.mask) for pair in list_dataset(root).pairs]

    flags = [mask_flags(mask, params.validate_) for mask in masks]

    assert sum(found == ["stray_components"] for found in flags) == 11
    assert sum(map(bool, flags)) == 11


def test_lateral_radiographs_and_slices_are_told_from_real_frontal_ones(real_data: Path) -> None:
    root = real_data / "COVID-19_Radiography_Dataset"
    frontal = [thumbnail(read_radiograph(root / pair.image)) for pair in list_dataset(root).pairs]
    files = sorted((real_data / "not_frontal_chest").iterdir())
    other = [thumbnail(np.asarray(Image.open(file).convert("L"))) for file in files]

    flags = orientation_flags(np.stack(frontal + other))

    assert flags[len(frontal) :] == [["not_frontal"]] * len(other)
    assert sum(map(bool, flags[: len(frontal)])) <= 0.02 * len(frontal)
