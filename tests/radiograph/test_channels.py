from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UnreadableError
from pipeline.radiograph.channels import grey_levels

GREY = (np.arange(64 * 64) // 16).astype(np.uint8).reshape(64, 64)
DICE = np.random.default_rng(0)


def apart(levels: int, share: float = 1.0) -> NDArray[Any]:
    """GREY as RGB, whose channels differ at random by so many levels."""
    noise = DICE.integers(-levels, levels + 1, (64, 64, 3)) * (DICE.random((64, 64, 1)) < share)
    return np.clip(GREY[..., None].astype(int) + noise, 0, 255).astype(np.uint8)


def test_one_pixel_that_is_a_level_off_changes_nothing() -> None:
    stored = np.stack([GREY] * 3, axis=-1)
    stored[5, 5, 0] += 1

    np.testing.assert_array_equal(grey_levels(stored), GREY)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_channel_that_is_two_levels_off_is_outvoted(place: int) -> None:
    stored = np.stack([GREY >> 1] * 3, axis=-1)
    stored[..., place] += 2

    np.testing.assert_array_equal(grey_levels(stored), GREY >> 1)


def test_a_level_of_16_bits_is_a_257th_as_much() -> None:
    stored = np.stack([GREY.astype(np.uint16) * 250] * 3, axis=-1)
    stored[..., 1] += 2 * 257

    np.testing.assert_array_equal(grey_levels(stored), GREY.astype(np.uint16) * 250)
    stored[..., 1] += 1
    with pytest.raises(UnreadableError, match="is a colour picture"):
        grey_levels(stored)


@pytest.mark.parametrize("quality", [50, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_grey_that_was_stored_as_a_colour_jpeg_is_grey(quality: int, subsampling: int) -> None:
    file = io.BytesIO()
    Image.fromarray(apart(1, 0.5)).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        stored = np.asarray(image)

    found = grey_levels(stored)

    assert np.abs(found.astype(int) - stored.astype(int).mean(axis=-1)).max() <= 3


@pytest.mark.parametrize(
    "stored",
    [
        np.stack([GREY, GREY, 255 - GREY], axis=-1),
        np.stack([GREY // 2 + 12, GREY // 2 + 6, GREY // 2], axis=-1),
        apart(5),
    ],
    ids=["colours", "sepia", "noise"],
)
def test_what_has_colours_is_refused(stored: NDArray[Any]) -> None:
    with pytest.raises(UnreadableError, match="is a colour picture") as caught:
        grey_levels(stored)

    assert caught.value.reason == "not_grayscale"


def test_a_small_mark_in_colour_is_colour() -> None:
    stored = np.stack([GREY] * 3, axis=-1)
    stored[10:13, 10:13] = (200, 0, 0)

    with pytest.raises(UnreadableError, match="is a colour picture"):
        grey_levels(stored)


def test_transparent_pixels_are_refused() -> None:
    stored = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 254)])

    with pytest.raises(UnreadableError, match="has transparent pixels") as caught:
        grey_levels(stored)

    assert caught.value.reason == "mode"
