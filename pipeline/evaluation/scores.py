"""How well a predicted mask agrees with the reference mask, per image and over many.

With tp, fp, fn, tn the pixels that are lung in both masks, only in the prediction, only in the
reference and in neither:

    accuracy     (tp + tn) / (tp + fp + fn + tn)
    dice         2 tp / (2 tp + fp + fn)    Dice 1945, doi 10.2307/1932409
    iou          tp / (tp + fp + fn)        Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x
    precision    tp / (tp + fp)
    recall       tp / (tp + fn)
    specificity  tn / (tn + fp)
    area_error   |fp - fn| / (tp + fn)      of the lung area; 0 is best, and it has no upper end

Where a ratio is 0 / 0: two empty masks agree fully, so dice, iou, precision and recall are 1; when
only one of the two is empty, the undefined one of precision and recall is 0, as dice and iou are;
specificity without any background is 1, since nothing could be marked wrongly; area_error without a
reference is 0 when nothing is marked and 1 otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import StrictModel


class Scores(StrictModel):
    """How well masks agree, each score from 0 (worst) to 1 (best)."""

    accuracy: float
    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float


SCORES = tuple(Scores.model_fields)


class Counts(NamedTuple):
    """Pixels of a prediction against its reference mask."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """Count the pixels of two masks (H, W), values 0 and 1; ValueError when the sizes differ."""
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction is {prediction.shape}, truth is {truth.shape}")
    found, lung = prediction.astype(bool), truth.astype(bool)
    tp = int(np.count_nonzero(found & lung))
    fp = int(np.count_nonzero(found)) - tp
    fn = int(np.count_nonzero(lung)) - tp
    return Counts(tp, fp, fn, found.size - tp - fp - fn)


def score(counts: Counts) -> Scores:
    """The scores of one mask, or of the summed pixels of many."""
    tp, fp, fn, tn = counts
    one_sided = 1.0 if fp == fn == 0 else 0.0
    return Scores(
        accuracy=(tp + tn) / (tp + fp + fn + tn),
        dice=_ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        iou=_ratio(tp, tp + fp + fn, 1.0),
        precision=_ratio(tp, tp + fp, one_sided),
        recall=_ratio(tp, tp + fn, one_sided),
        specificity=_ratio(tn, tn + fp, 1.0),
    )


def area_error(counts: Counts) -> float:
    """How far the predicted lung area is from the reference's, as a share of that."""
    undefined = 1.0 if counts.fp else 0.0
    return _ratio(abs(counts.fp - counts.fn), counts.tp + counts.fn, undefined)


def _ratio(part: int, whole: int, undefined: float) -> float:
    return part / whole if whole else undefined
