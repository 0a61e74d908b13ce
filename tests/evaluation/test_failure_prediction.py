from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation.failure_prediction import auroc, rank_failures, risk_coverage

NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)


def by_pairs(sureness: NDArray[np.float64], failed: NDArray[np.bool_]) -> float:
    """The definition: every failure against every other radiograph."""
    apart = sureness[~failed][:, np.newaxis] - sureness[failed]
    return float(np.mean((apart > 0) + 0.5 * (apart == 0)))


@given(NUMBERS)
def test_the_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    sureness = np.array([row[0] for row in rows], float)
    failed = np.array([row[1] for row in rows])

    if 0 < failed.sum() < len(failed):
        assert auroc(sureness, failed) == pytest.approx(by_pairs(sureness, failed))
    else:
        assert math.isnan(auroc(sureness, failed))


def test_the_risk_of_what_is_kept_rises_when_the_surest_are_best() -> None:
    risk = np.array([0.1, 0.3, 0.2])

    assert risk_coverage(-risk, risk) == pytest.approx([0.1, 0.15, 0.2])
    assert risk_coverage(np.zeros(3), risk) == pytest.approx([0.2, 0.2, 0.2])  # no order


def table(dice: list[float], **columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"dice": dice, **columns})


def test_each_score_is_ranked_on_the_radiographs_that_have_it() -> None:
    test = table(
        [0.8, 0.95, 0.97, 0.98],
        soft_dice=[0.7, 0.9, 0.9, 0.9],
        contour_entropy=[9.0, 1.0, 1.0, 1.0],
        tta_dice=[math.nan, 0.9, 0.8, math.nan],
    )
    changed = table(
        [0.98, 0.5], soft_dice=[0.9, 0.95], contour_entropy=[1, 2], tta_dice=[math.nan, 0.4]
    ).assign(twin=[0, 1])

    found = rank_failures(test, changed).set_index(["radiographs", "score"])

    assert found.loc[("test", "soft_dice"), "auroc"] == 1
    assert found.loc[("test", "contour_entropy"), "auroc"] == 1
    assert found.loc[("test", "tta_dice"), ["cases", "failures"]].tolist() == [2, 0]
    assert math.isnan(found.loc[("test", "tta_dice"), "auroc"])
    assert found.loc[("corrupted", "soft_dice"), ["cases", "failures"]].tolist() == [1, 1]
    assert found["aurc"].between(found["least_aurc"] - 1e-12, 1).all()


def test_a_score_that_nobody_measured_has_no_row() -> None:
    test = table([0.9], soft_dice=[0.9], contour_entropy=[1.0], tta_dice=[math.nan])

    found = rank_failures(test, test.assign(twin=0))

    assert found["score"].tolist() == ["soft_dice", "contour_entropy"]
