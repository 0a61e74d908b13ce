from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.explanation.occlusion import CHECKED, GRID, occlusion_drops, spread_drops

SIDE = 36
PATCH = SIDE // GRID
LUNG = np.zeros((SIDE, SIDE), np.bool_)
LUNG[4:32, 4:16] = True


class Brightness:
    """Answers with how bright each pixel is, in the other convention with how dark."""

    conventions = ("standard", "dark")

    def predict(
        self, images: Sequence[NDArray[np.uint8]], sizes: Any = None, conventions: Any = None
    ) -> list[NDArray[np.float32]]:
        found = [image.astype(np.float32) / 255 for image in images]
        asked = conventions or ["standard"] * len(found)
        return [
            one if name == "standard" else 1 - one for one, name in zip(found, asked, strict=True)
        ]


def test_a_drop_is_what_covering_a_patch_with_its_surroundings_takes_away() -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[8:12, 8:12] = 255  # one patch, alone within three by three

    drops = occlusion_drops(Brightness(), image, LUNG).reshape(GRID, GRID)

    kept = round(255 / 9) / 255
    assert drops[2, 2] == pytest.approx((1 - kept) * PATCH**2 / LUNG.sum(), rel=1e-4)
    assert (drops[1:4, 1:4].ravel() < 0).sum() == 8  # those around it become brighter
    assert not drops[5:].any()


def test_the_patches_of_the_check_are_some_of_all() -> None:
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint8)

    every = occlusion_drops(Brightness(), image, LUNG)

    assert np.array_equal(occlusion_drops(Brightness(), image, LUNG, CHECKED), every[CHECKED])


def test_the_network_is_asked_in_the_convention() -> None:
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint8)

    standard = occlusion_drops(Brightness(), image, LUNG, CHECKED, "standard")

    assert np.array_equal(occlusion_drops(Brightness(), image, LUNG, CHECKED), standard)
    dark = occlusion_drops(Brightness(), image, LUNG, CHECKED, "dark")
    np.testing.assert_allclose(dark, -standard, atol=1e-6)


def test_drops_are_spread_over_their_patches_at_any_size() -> None:
    spread = spread_drops(np.arange(GRID**2, dtype=float), 50)

    assert spread.shape == (50, 50)
    assert set(spread.ravel()) == set(range(GRID**2))
    assert (spread[0, 0], spread[0, -1], spread[-1, -1]) == (0, GRID - 1, GRID**2 - 1)
