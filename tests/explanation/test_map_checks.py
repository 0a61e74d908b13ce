from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from pipeline.explanation.map_checks import map_failure, measure_map, rank_correlation

LUNG = np.zeros((50, 50), np.bool_)
LUNG[10:40, 10:20] = LUNG[10:40, 30:40] = True
OTHER = np.arange(9.0), np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5])
GOOD = {
    "agreement": 0.99,
    "rank_correlation": 0.2,
    "largest_drop": 0.05,
    "lung_or_border_share": 0.8,
    "lung_or_border_area": 0.4,
    "concentration": 0.67,
}


def test_a_map_within_the_lung_is_concentrated() -> None:
    numbers = measure_map(LUNG.astype(float), LUNG, OTHER, agreement=0.9)

    assert numbers["lung_share"] == 1
    assert numbers["lung_area"] == pytest.approx(600 / 2500)
    assert numbers["border_share"] == pytest.approx(1 - 2 * 26 * 6 / 600)
    assert (numbers["concentration"], numbers["agreement"]) == (1, 0.9)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_constant_map_fails(level: float) -> None:
    numbers = measure_map(np.full(LUNG.shape, level), LUNG, OTHER, agreement=1)

    assert numbers["concentration"] == pytest.approx(0, abs=1e-9)
    assert "not clearly more than their" in map_failure(numbers)


def test_a_prediction_of_the_whole_picture_has_no_place() -> None:
    everywhere = np.ones_like(LUNG)

    assert measure_map(LUNG.astype(float), everywhere, OTHER, 1.0)["concentration"] == 0


def test_a_map_that_is_turned_round_is_as_similar() -> None:
    values = np.arange(9.0)

    numbers = measure_map(LUNG.astype(float), LUNG, (values, -(values**3)), agreement=1)

    assert numbers["rank_correlation"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("agreement", 0.79, r"does not give this prediction \(Dice 0.79, expected 0.80"),
        ("rank_correlation", 0.61, r"too similar \(rank correlation 0.61, expected 0.60"),
        ("largest_drop", 0.0049, r"noticeably \(mean probability 0.0049 lower, expected 0.005"),
        ("concentration", 0.29, "80% of it lies .* not clearly more than their 40% of the picture"),
    ],
)
def test_each_limit_has_its_reason(name: str, value: float, reason: str) -> None:
    assert map_failure(GOOD) == ""
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(map_failure(GOOD | {name: value}))


@pytest.mark.parametrize("name", ["agreement", "rank_correlation", "largest_drop", "concentration"])
def test_a_check_that_is_no_number_has_failed(name: str) -> None:
    assert map_failure(GOOD | {name: float("nan")})


VALUES = arrays(np.float64, 12, elements=st.integers(-4, 4))


@given(VALUES, VALUES)
def test_rank_correlation_is_spearmans(one: np.ndarray, other: np.ndarray) -> None:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert rank_correlation(one, other) == 0
    else:
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
