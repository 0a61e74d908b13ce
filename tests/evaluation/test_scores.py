from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.scores import (
    Counts,
    confusion,
    score,
)

COUNT = st.integers(0, 10**12)


def test_confusion_counts_each_kind_of_pixel() -> None:
    prediction = np.array([[1, 1, 0, 0, 0]], np.uint8)
    truth = np.array([[1, 0, 1, 1, 0]], np.uint8)

    assert confusion(prediction, truth) == Counts(tp=1, fp=1, fn=2, tn=1)


def test_confusion_does_not_overflow_the_eight_bits_of_its_masks() -> None:
    full = np.ones((1000, 1000), np.uint8)

    assert confusion(full, full) == Counts(tp=1_000_000, fp=0, fn=0, tn=0)


def test_confusion_refuses_masks_of_different_sizes() -> None:
    with pytest.raises(ValueError, match=r"prediction is \(2, 3\), truth is \(3, 2\)"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_scores_follow_their_definitions() -> None:
    assert score(Counts(tp=6, fp=2, fn=4, tn=8)).model_dump() == {
        "accuracy": 14 / 20,
        "dice": 12 / 18,
        "iou": 6 / 12,
        "precision": 6 / 8,
        "recall": 6 / 10,
        "specificity": 8 / 10,
    }


@pytest.mark.parametrize(
    ("counts", "dice", "precision", "recall", "specificity"),
    [
        (Counts(0, 0, 0, 9), 1, 1, 1, 1),
        (Counts(0, 0, 9, 0), 0, 0, 0, 1),
        (Counts(0, 9, 0, 0), 0, 0, 0, 0),
        (Counts(9, 0, 0, 0), 1, 1, 1, 1),
        (Counts(0, 3, 0, 6), 0, 0, 0, 6 / 9),
        (Counts(0, 0, 3, 6), 0, 0, 0, 1),
    ],
    ids=["both empty", "full missed", "full invented", "full found", "invented", "missed"],
)
def test_scores_of_empty_masks_are_defined(
    counts: Counts, dice: float, precision: float, recall: float, specificity: float
) -> None:
    found = score(counts)

    assert (found.dice, found.iou) == (dice, dice)
    assert (found.precision, found.recall) == (precision, recall)
    assert found.specificity == specificity


@given(st.builds(Counts, COUNT, COUNT, COUNT, COUNT).filter(lambda counts: sum(counts) > 0))
def test_scores_stay_within_their_range_and_dice_agrees_with_iou(counts: Counts) -> None:
    found = score(counts)

    assert all(0 <= value <= 1 for value in found.model_dump().values())
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))
