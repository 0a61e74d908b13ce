from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.intervals import (
    lower_bound,
    mean_intervals,
    paired_intervals,
    resampled_means,
    worst_class_interval,
)


def test_the_spread_is_that_of_the_mean_of_independent_patients() -> None:
    values = np.random.default_rng(0).normal(0.95, 0.03, 200)

    means = resampled_means(values[:, np.newaxis], [str(n) for n in range(200)])[:, 0]

    assert means.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.1)


def test_radiographs_of_one_patient_tell_no_more_than_one() -> None:
    patients = np.random.default_rng(0).normal(0.95, 0.03, 50)
    values = np.repeat(patients, 4)
    names = np.repeat([str(n) for n in range(50)], 4)

    together = resampled_means(values[:, np.newaxis], names)[:, 0].std()
    apart = resampled_means(values[:, np.newaxis], [str(n) for n in range(200)])[:, 0].std()

    assert together == pytest.approx(2 * apart, rel=0.15)


def test_a_better_table_never_has_a_lower_bound() -> None:
    rng = np.random.default_rng(1)
    groups = [str(n // 2) for n in range(80)]
    for _ in range(50):
        values = rng.uniform(0, 1, 80)
        better = values + rng.uniform(0, 0.1, 80)
        assert lower_bound(better, groups, 0.05) >= lower_bound(values, groups, 0.05)


def test_one_patient_alone_has_no_spread() -> None:
    assert lower_bound(np.array([0.2, 0.4]), ["a", "a"], 0.05) == pytest.approx(0.3)


def test_scores_and_the_worst_class_get_an_interval_that_holds_their_value() -> None:
    rng = np.random.default_rng(2)
    classes = ["COVID" if number % 2 else "Normal" for number in range(60)]
    table = pd.DataFrame(
        {
            "accuracy": rng.uniform(0.97, 1, 60),
            "dice": rng.uniform(0.94, 0.97, 60),
            "class_name": classes,
            "group": [str(number) for number in range(60)],
        }
    )

    intervals = mean_intervals(table[["accuracy", "dice"]], table["group"])
    worst = worst_class_interval(table)

    for value, (low, high) in (
        (table["accuracy"].mean(), intervals["accuracy"]),
        (table["dice"].mean(), intervals["dice"]),
        (table.groupby("class_name")["dice"].mean().min(), worst),
    ):
        assert low < value < high
        assert high - low < 0.02


@pytest.mark.slow  # 400 experiments of 2,000 resamples each
def test_an_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        # Patients of 1 to 4 radiographs with something in common, skewed as losses of Dice are.
        sizes = rng.integers(1, 5, 150)
        patients = np.repeat(np.arange(150), sizes)
        loss = rng.gamma(2, 0.01, 150)[patients] + rng.gamma(2, 0.01, len(patients))
        table = pd.DataFrame({"dice": 1 - loss})
        ((low, high),) = mean_intervals(table, patients.astype(str)).values()
        held += low <= 0.96 <= high

    assert 0.93 <= held / 400 <= 0.97


def test_no_radiographs_are_an_error() -> None:
    with pytest.raises(ValueError, match="no radiographs to resample"):
        resampled_means(np.empty((0, 1)), [])


def test_two_models_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 0.1, 80)  # radiographs differ far more than the models do
    gain = pd.Series(0.01 + rng.normal(0, 0.002, 80))
    table = pd.DataFrame({"gain": (hard + gain) - hard, "none": np.nan, "some": gain})
    table.loc[40:, "some"] = np.nan
    groups = pd.Series([str(n // 2) for n in range(80)])

    intervals = paired_intervals(table, groups)

    assert set(intervals) == {"gain", "some"}
    for name in intervals:
        low, high = intervals[name]
        assert low < table[name].mean() < high
        assert 0.008 < low < high < 0.012


def test_one_group_gives_no_interval() -> None:
    table = pd.DataFrame({"dice": [0.1, 0.2], "iou": [0.1, np.nan]})

    assert paired_intervals(table, pd.Series(["a", "a"])) == {}
    assert set(paired_intervals(table, pd.Series(["a", "b"]))) == {"dice"}
