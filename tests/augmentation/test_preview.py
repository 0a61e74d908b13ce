from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ImageFont

from pipeline.augmentation.copies import Copier, Original
from pipeline.augmentation.preview import (
    OUTLINE,
    PHRASES,
    TILE,
    WIDTH,
    Panel,
    describe_copy,
    draw_panel,
    draw_preview,
    settings_of,
    wrap,
)
from pipeline.params import AugmentParams
from pipeline.transforms import NAMES
from tests.browser import open_page

SIDE = 64
FONT = ImageFont.load_default(14)


def params(*transforms: dict[str, Any], copies: int = 1, fresh: bool = False) -> AugmentParams:
    return AugmentParams(
        seed=7,
        image_size=SIDE,
        copies=copies,
        fresh=fresh,
        transforms=list(transforms),
        workers=1,
    )


def disc() -> tuple[np.ndarray, np.ndarray]:
    mask = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (32, 32), 16, 255, -1)
    return np.where(mask, 60, 180).astype(np.uint8), mask


def said_of(transform: dict[str, Any]) -> str:
    copier = Copier(params({"p": 1, **transform}), keep_applied=True)
    return describe_copy(copier.draw(Original.of("A/1", *disc()), 1).applied)


HOLES = {
    "name": "CoarseDropout",
    "hole_height_range": [0.1, 0.2],
    "hole_width_range": [0.1, 0.2],
}
MOVED = {"name": "Affine", "scale": [1, 1], "rotate": [0, 0], "translate_percent": [0, 0]}


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ({"name": "HorizontalFlip"}, "mirrored"),
        ({"name": "HorizontalFlip", "p": 0}, "unchanged"),
        (MOVED, "size ×1.00"),
        (MOVED | {"rotate": [8, 8]}, "turned 8° left, size ×1.00"),
        (MOVED | {"aspect": [1.1, 1.1]}, "size ×1.00, width:height ×1.10"),
        (MOVED | {"rotate": [-8, -8], "scale": [1.1, 1.1]}, "turned 8° right, size ×1.10"),
        (
            MOVED | {"translate_percent": [0.25, 0.25]},
            "size ×1.00, moved 25 % right, 25 % down",
        ),
        (MOVED | {"translate_percent": [-0.25, -0.25]}, "size ×1.00, moved 25 % left, 25 % up"),
        ({"name": "Rotate", "limit": [5, 5]}, "turned 5° left, size ×1.00"),
        (
            {"name": "RandomResizedCrop", "scale": [1, 1], "ratio": [1, 1]},
            "cut to 64 × 64 pixels",
        ),
        (
            {"name": "GridDistortion", "num_steps": 4, "distort_limit": [0, 0]},  # by rounding
            "warped by up to 1 pixels",
        ),
        (
            {
                "name": "RandomBrightnessContrast",
                "brightness_limit": [-0.2, -0.2],
                "contrast_limit": [0.1, 0.1],
            },
            "contrast ×1.10, brightness −51",
        ),
        ({"name": "RandomGamma", "gamma_limit": [120, 120]}, "gamma 1.20"),
        (
            {"name": "CLAHE", "clip_limit": [2, 2], "tile_grid_size": [8, 8]},
            "equalised with limit 2.0",
        ),
        ({"name": "GaussNoise", "std_range": [0, 0]}, "noise of 0.0 grey levels"),
        ({"name": "GaussianBlur", "sigma_limit": [1, 1]}, "blurred over 7 pixels"),
        (HOLES | {"num_holes_range": [1, 1]}, "1 rectangle laid over"),
        (HOLES | {"num_holes_range": [3, 3]}, "3 rectangles laid over"),
    ],
)
def test_what_happened_to_a_copy_is_said_in_words(transform: dict[str, Any], said: str) -> None:
    assert said_of(transform) == said


@pytest.mark.parametrize(("degrees", "side"), [(20, "left"), (-20, "right")])
def test_left_and_right_are_as_the_reader_sees_them(degrees: int, side: str) -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    mask = np.zeros_like(image)
    mask[10:20, 28:36] = 255  # above the centre: it goes to the side to which the picture turns
    copier = Copier(
        params({"name": "Rotate", "limit": [degrees, degrees], "p": 1}), keep_applied=True
    )

    copy = copier.draw(Original.of("A/1", image, mask), 1)

    where = "left" if np.nonzero(copy.mask)[1].mean() < 31 else "right"
    assert where == side
    assert describe_copy(copy.applied).startswith(f"turned 20° {side}")


def test_there_are_words_for_every_transform() -> None:
    assert set(PHRASES) == {*NAMES, "StretchedAffine"}


@pytest.mark.parametrize("side", [32, 256, 1024])
def test_a_tile_has_the_outline_where_the_mask_ends(side: int) -> None:
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 255

    tile = draw_panel(Panel(np.full((side, side), 90, np.uint8), mask, ""))

    green = np.abs(tile.astype(int) - OUTLINE).max(axis=-1) < 60
    assert tile.shape == (TILE, TILE, 3)
    rows, columns = np.nonzero(green)
    assert np.allclose([rows.min(), rows.max()], [TILE / 4, TILE / 2], atol=5)
    assert np.allclose([columns.min(), columns.max()], [TILE / 4, TILE / 2], atol=5)
    assert not green[TILE * 3 // 8, TILE * 3 // 8]


def test_every_pair_of_every_class_is_on_the_page() -> None:
    pair = [Panel(*disc(), "A-1, original"), Panel(*disc(), "copy 1: mirrored " * 9)]

    small = draw_preview({"A": [pair]}, ["settings"])
    same = draw_preview({"A": [pair] * 3}, ["settings"])
    taller = draw_preview({"A": [pair] * 4, "B": [pair]}, ["settings"])

    assert small.width == WIDTH
    assert small.height == same.height
    assert taller.height > small.height + 2 * TILE


@pytest.mark.slow
def test_the_page_opens_in_a_browser(browser: Any, tmp_path: Path) -> None:
    pair = [Panel(*disc(), "A-1, original"), Panel(*disc(), "copy 1: mirrored")]
    draw_preview({"A": [pair]}, ["settings"]).save(tmp_path / "preview.png")

    open_page(browser, tmp_path / "preview.png")

    assert browser.execute_script("return document.images[0].naturalWidth") == WIDTH


def test_the_heading_tells_the_settings() -> None:
    made = params(MOVED | {"p": 0.5, "translate_percent": [-0.1, 0.1]}, copies=2)

    size, transforms = settings_of(made, pairs=30, redrawn=1, tried=2)

    assert size == (
        "64 × 64 pixels, 2 copies of each of 30 training pairs, seed 7; 1 draw lost lungs and had "
        "to be repeated."
    )
    assert transforms == (
        "In this order: Affine (scale 1 to 1, rotate 0 to 0, translate_percent −0.1 to 0.1, p 0.5)."
    )


@pytest.mark.parametrize(("tried", "said"), [(1, "1 copy"), (4, "4 copies")])
def test_the_heading_says_that_training_draws_others_and_how_many_were_tried(
    tried: int, said: str
) -> None:
    made = params(MOVED | {"p": 1}, copies=9, fresh=True)

    size, _ = settings_of(made, pairs=30, redrawn=2, tried=tried)

    assert size == (
        "64 × 64 pixels, 9 copies of each of 30 training pairs; other copies in every epoch, here "
        "of the first, seed 7; 2 draws lost lungs and had to be repeated, tried with "
        f"{said} of each pair."
    )


@pytest.mark.parametrize("words", ["a few words that need more than a line", "Oneverylongname" * 9])
def test_no_line_is_wider_than_its_place(words: str) -> None:
    lines = wrap(words, FONT, 100)

    assert len(lines) > 1
    assert all(FONT.getlength(line) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")


def test_a_letter_that_is_wider_than_its_place_ends_in_a_line_of_its_own() -> None:
    assert wrap("WW", FONT, 1) == ["W", "W"]
