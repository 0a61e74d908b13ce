"""Flags on pairs that decode well and yet may not be what they should: a person has to look.

A flag never sets a pair aside. Masks are judged one at a time, by the form of the lung area. How a
radiograph lies is judged against the others of the dataset, through thumbnails: the mean and the
leading principal patterns of the dataset span what its upright radiographs look like, and a picture
is told by the share of its contrast that they leave unexplained, as it stands and turned or
flipped. This is the "distance from face space" of Turk and Pentland, "Eigenfaces for Recognition",
J. Cognitive Neuroscience 3 (1991), pp. 71-86, fitted twice more without the least explained. No
learned weight comes with it. docs/plausibility.md says what it finds and what it misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.params import ValidateParams
from pipeline.radiograph.grey import Grey

Thumbnails = NDArray[np.float32]

THUMBNAIL = 32

STRAY = 0.01  # share of the lung area below which a part is no lung
ONE_SIDED = 0.9  # share of the lung area on one side; a destroyed lung leaves up to 0.8

FEWEST_FOR_MIRRORED = 300  # left and right differ by little: with fewer, half the flags are false
FEWEST = 20  # below this the pictures span nothing that a single one could be held against
SAMPLED = 600  # pictures that the patterns are fitted to
PATTERNS = 12
PICTURES_PER_PATTERN = 25  # in small datasets; otherwise each picture would explain itself
TRIMMED = 0.1  # share left out of the second and third fit
CHUNK = 2000  # pictures judged at once, so that memory stays flat

# Measured by benchmarks/plausibility.py; see docs/plausibility.md.
UNEXPLAINED = 0.4
OUTLYING = 2.75  # robust standard deviations of the logarithm
TURNED = 0.8
FLIPPED = 0.88


def components(mask: Grey) -> int:
    """How many separate parts the lung of a mask (H, W) has; touching corners connect."""
    return len(_part_sizes(mask))


def _part_sizes(mask: Grey) -> NDArray[np.int32]:
    stats: NDArray[np.int32] = cv2.connectedComponentsWithStats(mask, connectivity=8)[2]
    return stats[1:, cv2.CC_STAT_AREA]


def left_share(mask: Grey) -> float:
    """Share of the lung area in the left half of the picture, 0..1; 0.5 without any lung."""
    columns = mask.sum(axis=0, dtype=np.int64)
    width = len(columns)
    left, right = columns[: width // 2].sum(), columns[(width + 1) // 2 :].sum()
    return float(0.5 + 0.5 * (left - right) / max(columns.sum(), 1))


def mask_flags(mask: Grey, params: ValidateParams) -> list[str]:
    """What is odd about the lung of one mask, (H, W) with values 0 and 1."""
    sizes, left = _part_sizes(mask), left_share(mask)
    odd = {
        "stray_components": len(sizes) > 2 or bool((sizes < STRAY * sizes.sum()).any()),
        "one_lung": max(left, 1 - left) > ONE_SIDED,
        "implausible_area": not params.min_lung_area <= mask.mean() <= params.max_lung_area,
    }
    return [flag for flag, found in odd.items() if found]


def thumbnail(image: Grey) -> Thumbnails:
    """The radiograph (H, W) as float32 (32, 32) of mean 0 and variance 1 (0 when constant)."""
    small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    grey = small.astype(np.float32)
    deviation = grey.std()
    normal: Thumbnails = (grey - grey.mean()) / (deviation if deviation > 0 else np.float32(1))
    return normal


@dataclass(frozen=True)
class Patterns:
    """What upright radiographs of a dataset look like."""

    mean: NDArray[np.float64]
    """(1024,)"""
    directions: NDArray[np.float64]
    """(1024, k), orthonormal."""

    def unexplained(self, thumbnails: NDArray[Any]) -> NDArray[np.float64]:
        """Share of the contrast of each thumbnail (n, 32, 32) that the patterns leave over."""
        centred = thumbnails.reshape(len(thumbnails), -1) - self.mean
        explained = centred @ self.directions
        left_over = (centred**2).sum(axis=1) - (explained**2).sum(axis=1)
        share: NDArray[np.float64] = left_over.clip(min=1e-9) / THUMBNAIL**2
        return share


def fit_patterns(thumbnails: Thumbnails) -> Patterns:
    """The patterns of (n, 32, 32), from an even sample of the rows and without its outliers."""
    # Evenly from the rows, not at random: the same dataset gives the same flags.
    rows = np.linspace(0, len(thumbnails) - 1, min(len(thumbnails), SAMPLED)).astype(int)
    sample = thumbnails[rows].astype(np.float64)
    patterns = _fit(sample)
    for _ in range(2):
        left_over = patterns.unexplained(sample)
        patterns = _fit(sample[left_over <= np.quantile(left_over, 1 - TRIMMED)])
    return patterns


def _fit(thumbnails: NDArray[np.float64]) -> Patterns:
    flat = thumbnails.reshape(len(thumbnails), -1)
    mean = flat.mean(axis=0)
    centred = flat - mean
    count = min(PATTERNS, max(1, len(flat) // PICTURES_PER_PATTERN))
    # Of the smaller of the two product matrices, which is quicker than the singular values.
    strength, weights = np.linalg.eigh(centred @ centred.T)  # in ascending order
    leading = strength[len(flat) - count :].clip(min=1e-9)
    return Patterns(mean, centred.T @ weights[:, len(flat) - count :] / np.sqrt(leading))


def orientation_flags(thumbnails: Thumbnails) -> list[list[str]]:
    """How each radiograph lies among the others: `thumbnail`s (n, 32, 32) of a whole dataset.

    `not_frontal` is like no other however it is turned, `rotated` is more like them when turned by
    90, 180 or 270 degrees, `mirrored` when flipped. No verdict on fewer than 20 radiographs, and
    none on `mirrored` on fewer than 300.
    """
    if len(thumbnails) < FEWEST:
        return [[] for _ in thumbnails]
    patterns = fit_patterns(thumbnails)
    starts = range(0, len(thumbnails), CHUNK)
    chunks = [_unexplained_turned(patterns, thumbnails[i : i + CHUNK]) for i in starts]
    upright, flipped, turned = np.concatenate(chunks, axis=1)
    lying = np.minimum(np.minimum(upright, flipped), turned)
    strange = (lying > UNEXPLAINED) & (_outlyingness(np.log(lying)) > OUTLYING)
    rotated = ~strange & (turned < TURNED * np.minimum(upright, flipped))
    judged = len(thumbnails) >= FEWEST_FOR_MIRRORED
    mirrored = ~strange & ~rotated & (flipped < FLIPPED * upright) & judged
    flags = {"rotated": rotated, "mirrored": mirrored, "not_frontal": strange}
    return [[name for name in flags if flags[name][row]] for row in range(len(thumbnails))]


def _unexplained_turned(patterns: Patterns, thumbnails: Thumbnails) -> NDArray[np.float64]:
    """Shares (3, n): upright, flipped, and the least of those turned, flipped or not."""
    flipped = thumbnails[:, :, ::-1]
    turned = [
        patterns.unexplained(np.rot90(side, quarter, axes=(1, 2)))
        for side in (thumbnails, flipped)
        for quarter in (1, 2, 3)
    ]
    upright = patterns.unexplained(thumbnails)
    return np.stack([upright, patterns.unexplained(flipped), np.min(turned, axis=0)])


def _outlyingness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = np.median(values)
    # 1.4826: the median absolute deviation of a normal distribution is 0.6745 of its standard one.
    spread = 1.4826 * np.median(np.abs(values - centre))
    deviation: NDArray[np.float64] = (values - centre) / max(float(spread), 1e-9)
    return deviation
