from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.calibration import calibration_table
from pipeline.evaluation.confidence import (
    Confidence,
    bin_pixels,
    contour_entropy,
    measure_confidence,
    soft_dice,
)


def measured(probability: np.ndarray, truth: np.ndarray) -> Confidence:
    mask = (probability >= 0.5).astype(np.uint8)
    return measure_confidence(probability, truth, mask, bin_pixels(probability, truth))


def test_what_is_surely_right_has_no_error_and_is_sure() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 1

    found = measured(truth.astype(np.float32), truth)

    assert (found.brier, found.ece, found.soft_dice) == (0, 0, 1)
    assert found.contour_entropy < 0.01


def test_what_is_surely_wrong_has_all_the_error_and_is_sure_all_the_same() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15] = 1

    found = measured((1 - truth).astype(np.float32), truth)

    assert (found.brier, found.ece, found.soft_dice) == (1, 1, 1)


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(size=(400, 400)).astype(np.float32)
    truth = (rng.uniform(size=probability.shape) < probability).astype(np.uint8)

    found = measured(probability, truth)

    assert found.ece < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.01)  # the mean of p (1 - p)
    assert found.soft_dice < 0.9


def test_an_answer_without_lung_is_not_sure() -> None:
    nothing = np.zeros((8, 8), np.uint8)

    assert soft_dice(np.full((8, 8), 0.1, np.float32), nothing) == 0
    assert contour_entropy(np.full((8, 8), 0.1, np.float32), nothing) == pytest.approx(30, abs=1)


def test_the_reliability_curve_pools_the_pixels_of_a_class() -> None:
    low, high = np.full((2, 4), 0.02, np.float32), np.full((2, 4), 1, np.float32)
    truth = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.uint8)

    table = calibration_table({"N": bin_pixels(low, truth) + bin_pixels(high, 1 - truth)})

    assert table["bin"].tolist() == [0, 14]
    assert table["pixels"].tolist() == [8, 8]
    assert table["probability"].tolist() == pytest.approx([0.02, 1])
    assert table["lung"].tolist() == [1 / 8, 7 / 8]
