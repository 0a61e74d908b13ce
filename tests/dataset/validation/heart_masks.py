"""Masks of two lungs that take in what lies behind the heart, or leave it out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.conventions import STANDARD
from pipeline.dataset.validation.medial_borders import measure_borders

SIDE = 128
TOP, BOTTOM = 20, 108


def lungs_of(seed: int, heart: bool, side: int = SIDE) -> NDArray[np.uint8]:
    """A mask whose lungs part by a tenth of their width above and, with `heart` left out, by a
    half below; somewhat another one for each seed."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    spine, widest = SIDE // 2 + rng.integers(-3, 4), 0 if heart else 18 + rng.integers(-3, 4)
    for row in range(TOP, BOTTOM):
        away = 5 + round(widest * (row - TOP) / (BOTTOM - TOP)) + rng.integers(0, 3)
        mask[row, 16 : spine - away // 2 - 2] = 1
        mask[row, spine + away : SIDE - 16] = 1
    return np.kron(mask, np.ones((side // SIDE,) * 2, np.uint8))


def judged_manifest(
    conventions: Sequence[str], hearts: Sequence[bool], by: str = ""
) -> pd.DataFrame:
    """Of pairs that have these conventions, whose masks take the heart in or not."""
    rows = []
    for number, (convention, heart) in enumerate(zip(conventions, hearts, strict=True)):
        rows.append(
            {
                "image_id": f"Normal/{number}",
                "class_name": "Normal",
                "patient": "",
                "convention": convention,
                "convention_by": by,
                "mask_sha256": f"mask {number}",
                **measure_borders(lungs_of(number, heart))._asdict(),
            }
        )
    return pd.DataFrame(rows)


def two_conventions(each: int = 40, swapped: Sequence[int] = (), by: str = "") -> pd.DataFrame:
    """`each` pairs of `standard`, then as many of `heart`; the masks of those `swapped` are of the
    other convention."""
    hearts = [(number >= each) != (number in swapped) for number in range(2 * each)]
    return judged_manifest([STANDARD] * each + ["heart"] * each, hearts, by)
