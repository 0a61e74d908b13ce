"""How well a predicted mask agrees with the reference mask, per image and over many.

With tp, fp, fn, tn the pixels that are lung in both masks, only in the prediction, only in the
reference and in neither:

    accuracy     (tp + tn) / (tp + fp + fn + tn)
    dice         2 tp / (2 tp + fp + fn)    Dice 1945, doi 10.2307/1932409
    iou          tp / (tp + fp + fn)        Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x
    precision    tp / (tp + fp)
    recall       tp / (tp + fn)
    specificity  tn / (tn + fp)

Where a ratio is 0 / 0: two empty masks agree fully, so dice, iou, precision and recall are 1; when
only one of the two is empty, the undefined one of precision and recall is 0, as dice and iou are;
specificity without any background is 1, since nothing could be marked wrongly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SCORES = ("accuracy", "dice", "iou", "precision", "recall", "specificity")


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


def score(counts: Counts) -> dict[str, float]:
    """The six scores, each 0 (worst) to 1 (best)."""
    tp, fp, fn, tn = counts
    one_sided = 1.0 if fp == fn == 0 else 0.0
    return {
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, 1.0),
        "iou": _ratio(tp, tp + fp + fn, 1.0),
        "precision": _ratio(tp, tp + fp, one_sided),
        "recall": _ratio(tp, tp + fn, one_sided),
        "specificity": _ratio(tn, tn + fp, 1.0),
    }


def _ratio(part: int, whole: int, undefined: float) -> float:
    return part / whole if whole else undefined


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """Scores over the images of `table`, a row per image with its counts and its scores.

    Each score is the mean over images; `pooled` has the same six from the summed counts, where
    large masks weigh more. `dice_p05` is the 5th percentile, interpolated linearly.
    """
    pooled = Counts(*(int(table[name].sum()) for name in Counts._fields))
    return {
        **mean_scores(table),
        "dice_median": float(table["dice"].median()),
        "dice_p05": float(table["dice"].quantile(0.05)),
        "dice_min": float(table["dice"].min()),
        "pooled": score(pooled),
    }


def summarise_classes(table: pd.DataFrame) -> dict[str, Any]:
    """The summary over all images, with `classes` and `worst_class_dice` beside it."""
    classes = {str(name): mean_scores(rows) for name, rows in table.groupby("class_name")}
    worst = min(means["dice"] for means in classes.values())
    return {**summarise(table), "classes": classes, "worst_class_dice": worst}


def mean_scores(table: pd.DataFrame) -> dict[str, Any]:
    """The number of images as `cases` and the mean of each score over them."""
    return {"cases": len(table)} | {name: float(table[name].mean()) for name in SCORES}
