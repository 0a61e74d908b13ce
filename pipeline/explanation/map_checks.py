"""Whether a map may be shown: it must be of this answer, of these weights, and of some place.

The limits were chosen on real radiographs, docs/explanation.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

MIN_AGREEMENT = 0.8
"""Dice of the network's own mask with the predicted one that is explained."""

MAX_RANK_CORRELATION = 0.6
"""Spearman's, without its sign, of the map with that of the shuffled network."""

MIN_DROP = 0.005
"""The largest fall of the mean probability that any covered patch must cause."""

MIN_CONCENTRATION = 0.3
"""Of the map in the predicted lung and at its border: 0 is an even map, 1 all of it there."""

BORDER = 0.04
"""Half the width of the band along the predicted edge, as a share of the picture's side."""


def measure_map(
    shown: NDArray[np.float64],
    lung: NDArray[np.bool_],
    compared: tuple[NDArray[np.float64], NDArray[np.float64]],
    agreement: float,
) -> dict[str, float]:
    """The numbers that `map_failure` judges.

    `shown` (S, S), 0 and more, is the map over the radiograph and `lung` (S, S) the predicted lung.
    `compared` has the map's values and those of the shuffled network at the same places.
    """
    band = _band(lung)
    total = float(shown.sum())
    numbers = {"agreement": agreement}
    numbers["rank_correlation"] = abs(rank_correlation(*compared))
    for name, region in (("lung", lung), ("border", band), ("lung_or_border", lung | band)):
        area = float(region.mean())
        # An empty map lies nowhere, which is as little as an even one says.
        numbers[f"{name}_share"] = float(shown[region].sum()) / total if total > 0 else area
        numbers[f"{name}_area"] = area
    share, area = numbers["lung_or_border_share"], numbers["lung_or_border_area"]
    numbers["concentration"] = (share - area) / (1 - area) if area < 1 else 0.0
    return numbers


def map_failure(checks: Mapping[str, float]) -> str:
    """Why a map is not shown, as the end of a sentence; "" when it is.

    A check that is no number has failed.
    """
    if not checks["agreement"] >= MIN_AGREEMENT:
        return (
            "the network does not give this prediction "
            f"(Dice {checks['agreement']:.2f}, expected {MIN_AGREEMENT:.2f} or more)"
        )
    if not checks["rank_correlation"] <= MAX_RANK_CORRELATION:
        return (
            "the map of a network with shuffled weights is too similar (rank correlation "
            f"{checks['rank_correlation']:.2f}, expected {MAX_RANK_CORRELATION:.2f} or less)"
        )
    if not checks.get("largest_drop", 1.0) >= MIN_DROP:
        return (
            "no covered square changes the answer noticeably (mean probability "
            f"{checks['largest_drop']:.4f} lower, expected {MIN_DROP:.3f} or more)"
        )
    if not checks["concentration"] >= MIN_CONCENTRATION:
        return (
            f"{checks['lung_or_border_share']:.0%} of it lies in the predicted lung and at its "
            f"edge, not clearly more than their {checks['lung_or_border_area']:.0%} of the picture"
        )
    return ""


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's correlation, -1..1, of the values of two maps; 0 where one is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    ranks = [pd.Series(values.ravel()).rank() for values in (one, other)]
    return float(ranks[0].corr(ranks[1]))


def _band(lung: NDArray[np.bool_]) -> NDArray[np.bool_]:
    half = max(1, round(BORDER * lung.shape[0]))
    square = np.ones((2 * half + 1, 2 * half + 1), np.uint8)
    mask = lung.astype(np.uint8)
    band: NDArray[np.bool_] = cv2.dilate(mask, square) > cv2.erode(mask, square)
    return band
