"""The one transform that albumentations has not: an affine one that also stretches a little."""

from __future__ import annotations

import math
import random

import albumentations as A


class StretchedAffine(A.Affine):  # type: ignore[misc]
    """An affine transform of a random size and aspect, in one interpolation.

    In its `scale`, x is the range of the size, whose square is that of the area, and y that of the
    aspect, width over height. Both are drawn for themselves: albumentations draws each axis for
    itself, so that sizes of 0.75 to 1.25 would come with aspects of 0.6 to 1.67.
    """

    @staticmethod
    def _get_scale(
        scale: dict[str, tuple[float, float]],
        keep_ratio: bool,
        balanced_scale: bool,
        random_state: random.Random,
    ) -> dict[str, float]:
        size, aspect = (random_state.uniform(*scale[axis]) for axis in ("x", "y"))
        return {"x": size * math.sqrt(aspect), "y": size / math.sqrt(aspect)}
