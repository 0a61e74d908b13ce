"""What the probabilities of one radiograph say: how right they are, and how sure.

With p the probability and y the reference (0 or 1) of a pixel, and m the mask made of p:

    brier            mean of (p - y)^2; Brier 1950
    ece              expected calibration error, Naeini 2015 (AAAI): |mean p - share of lung| of
                     each of 15 bins of equal width, weighted by its pixels
    soft_dice        2 sum(p m) / (sum(p) + sum(m)): 1 where the probabilities are 0 or 1
    contour_entropy  sum of -p log2 p - (1-p) log2 (1-p) by the pixels of the border of m: bits

brier and ece need the reference; the other two do not, so they can warn of a failure in use. Where
nothing is marked soft_dice is 0 and the entropy counts by one pixel; both say "not sure".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.boundary import border_of

BINS = 15


class Confidence(NamedTuple):
    """What the probabilities of a radiograph say."""

    brier: float
    """0 (best) to 1."""
    ece: float
    """0 (best) to 1."""
    soft_dice: float
    """0 to 1 (sure)."""
    contour_entropy: float
    """Bits per pixel of the border, 0 (sure) or more."""


@dataclass(frozen=True)
class Bins:
    """The pixels of radiographs by their probability; arrays of BINS."""

    pixels: NDArray[np.int64]
    probability: NDArray[np.float64]
    """Its sum over the pixels of a bin."""
    lung: NDArray[np.int64]
    """Pixels of a bin that are lung in the reference."""

    def __add__(self, other: Bins) -> Bins:
        return Bins(
            self.pixels + other.pixels,
            self.probability + other.probability,
            self.lung + other.lung,
        )

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of these pixels, 0..1."""
        return float(np.abs(self.probability - self.lung).sum() / max(1, self.pixels.sum()))


def bin_pixels(probability: NDArray[np.float32], truth: NDArray[np.uint8]) -> Bins:
    """Sort the pixels of a radiograph (H, W) by their probability, 0..1."""
    p = probability.ravel()
    which = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    return Bins(
        np.bincount(which, minlength=BINS),
        np.bincount(which, weights=p, minlength=BINS).astype(np.float64),
        np.bincount(which[truth.ravel() == 1], minlength=BINS),
    )


def measure_confidence(
    probability: NDArray[np.float32],
    truth: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    bins: Bins,
) -> Confidence:
    """Measure probabilities (H, W), 0..1, against the reference and the `mask` made of them."""
    return Confidence(
        brier=float(np.mean((probability - truth) ** 2, dtype=np.float64)),
        ece=bins.calibration_error,
        soft_dice=soft_dice(probability, mask),
        contour_entropy=contour_entropy(probability, mask),
    )


def soft_dice(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Agreement of probabilities (H, W), 0..1, with the mask made of them, 0..1."""
    whole = float(probability.sum(dtype=np.float64) + mask.sum(dtype=np.float64))
    shared = float((probability * mask).sum(dtype=np.float64))
    return 2 * shared / whole if whole else 0.0


def contour_entropy(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Entropy of probabilities (H, W), 0..1, by the border's length of the mask made of them."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    bits = float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum())
    return bits / max(1, int(np.count_nonzero(border_of(mask))))
