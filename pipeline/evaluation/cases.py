"""The test radiographs that the visual report shows: which they are and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import StageError, UnreadableError
from pipeline.evaluation.metrics import ImageScores, image_scores
from pipeline.evaluation.scores import confusion
from pipeline.evaluation.scoring import PREDICTIONS, LabelledPair
from pipeline.pictures.overlay import draw_overlay, shrink_radiograph
from pipeline.pictures.pages import encode_png
from pipeline.radiograph.reading import read_mask, read_radiograph


@dataclass(frozen=True)
class Case:
    """One test radiograph with its overlay."""

    kind: str
    """worst, median or best."""
    rank: int
    """1 is the first that the report shows of its kind."""
    image: ImageScores
    radiograph: bytes
    """A grey PNG."""
    overlay: bytes
    """An RGB PNG."""

    @property
    def overlay_name(self) -> str:
        """Path of the overlay below the report's folder."""
        return f"overlays/{self.kind}-{self.rank:02}.png"

    @property
    def missed(self) -> float | None:
        """Missed lung as a share of the reference lung; None without any."""
        return self._share(self.image.counts.fn)

    @property
    def extra(self) -> float | None:
        """Area marked beyond the reference lung as a share of it; None without any."""
        return self._share(self.image.counts.fp)

    def _share(self, pixels: int) -> float | None:
        lung = self.image.counts.tp + self.image.counts.fn
        return pixels / lung if lung else None


def choose_cases(per_image: pd.DataFrame, count: int) -> dict[str, list[str]]:
    """The image_ids of up to `count` worst, median and best cases by Dice, none twice.

    With fewer than 3 `count` images all of them are chosen, shared evenly among the kinds. The
    worst case comes first among the worst, the best first among the best.
    """
    ranked = per_image.sort_values(["dice", "image_id"])["image_id"].tolist()
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


def draw_cases(
    root: Path, per_image: pd.DataFrame, pairs: Sequence[LabelledPair], count: int
) -> list[Case]:
    """Choose the cases among the `pairs` and draw them from data/ and PREDICTIONS below `root`.

    Raises StageError when a prediction is missing or is not the one that was scored, DatasetError
    when a radiograph or mask is not the one that was split.
    """
    images = {image.image_id: image for image in image_scores(per_image)}
    files = {pair.image_id: pair for pair in pairs}
    return [
        _draw_case(root, files[image_id], images[image_id], kind, rank)
        for kind, image_ids in choose_cases(per_image, count).items()
        for rank, image_id in enumerate(image_ids, start=1)
    ]


def _draw_case(root: Path, pair: LabelledPair, image: ImageScores, kind: str, rank: int) -> Case:
    radiograph = read_radiograph(root / "data" / pair.image_path, pair.image_sha256)
    truth = read_mask(root / "data" / pair.mask_path, pair.mask_sha256)
    overlay = draw_overlay(radiograph, truth, _read_prediction(root, image, truth))
    return Case(kind, rank, image, encode_png(shrink_radiograph(radiograph)), encode_png(overlay))


def _read_prediction(root: Path, image: ImageScores, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    path = root / PREDICTIONS / f"{image.image_id}.png"
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
