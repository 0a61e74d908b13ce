"""The test radiographs of the visual report: which it shows at length, and their pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import StageError, UnreadableError
from pipeline.evaluation.per_image import ImageScores
from pipeline.evaluation.scores import confusion
from pipeline.evaluation.scoring import PREDICTIONS, PROBABILITIES, LabelledPair
from pipeline.radiograph.formats.png import parse_png
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph


@dataclass(frozen=True)
class CasePictures:
    """A test radiograph with its masks; all but the radiograph are (H, W), of the mask's size."""

    radiograph: Grey
    truth: NDArray[np.uint8]
    """0 and 1, as `prediction`."""
    prediction: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    """Of lung, times 255."""


def choose_cases(per_image: pd.DataFrame, count: int) -> dict[str, list[str]]:
    """The image_ids of up to `count` worst, median and best cases by Dice, none twice.

    With fewer than 3 `count` distinct images all of these are chosen, shared evenly among the
    kinds. The worst case comes first among the worst, the best first among the best.
    """
    ranked = distinct_cases(per_image)["image_id"].tolist()
    worst = min(count, math.ceil(len(ranked) / 3))
    best = min(count, math.ceil((len(ranked) - worst) / 2))
    median = min(count, len(ranked) - worst - best)
    last = len(ranked) - best
    start = min(max((len(ranked) - median) // 2, worst), last - median)
    return {
        "worst": ranked[:worst],
        "median": ranked[start : start + median],
        "best": ranked[last:][::-1],
    }


def distinct_cases(per_image: pd.DataFrame) -> pd.DataFrame:
    """The rows by rising Dice, one of those with equal pixels and equal Dice: they look alike."""
    ranked = per_image.sort_values(["dice", "image_id"])
    return ranked.drop_duplicates(["pixel_sha256", "dice"])


def read_case(root: Path, pair: LabelledPair, image: ImageScores) -> CasePictures:
    """Read a case from data/ and artifacts/evaluate below `root`.

    Raises StageError when a prediction or its probabilities are missing or not the ones that were
    scored, DatasetError when the radiograph or the mask is not the one that was split.
    """
    radiograph = read_radiograph(root / "data" / pair.image_path, pair.image_sha256)
    truth = read_mask(root / "data" / pair.mask_path, pair.mask_sha256)
    prediction = _read_prediction(root / PREDICTIONS / f"{image.image_id}.png", image, truth)
    path = root / PROBABILITIES / f"{image.image_id}.png"
    return CasePictures(radiograph, truth, prediction, _read_probability(path, truth))


def _read_prediction(path: Path, image: ImageScores, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        prediction = read_mask(path)
    except UnreadableError as error:
        raise StageError(f"{error}; run the stage evaluate again") from None
    if prediction.shape != truth.shape or confusion(prediction, truth) != image.counts:
        raise StageError(
            f"{path}: does not give the counts of per_image.parquet, expected the prediction that "
            "was scored; run the stage evaluate again",
        )
    return prediction


def _read_probability(path: Path, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        levels = parse_png(path.read_bytes()).decode().levels
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; run the stage evaluate again") from None
    except UnreadableError as error:
        raise StageError(f"{path}: {error}; run the stage evaluate again") from None
    if levels.dtype != np.uint8 or levels.shape != truth.shape:
        raise StageError(
            f"{path}: found {levels.dtype} {levels.shape}, expected probabilities as uint8 "
            f"{truth.shape}; run the stage evaluate again",
        )
    return levels
