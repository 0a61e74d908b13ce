"""Scoring a network on radiographs whose masks are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import StageError
from pipeline.evaluation.metrics import ImageScores
from pipeline.evaluation.scores import confusion, score
from pipeline.inference.segmenter import Segmenter
from pipeline.params import EvaluateParams
from pipeline.radiograph.reading import read_mask, read_radiograph

PREDICTIONS = Path("artifacts/evaluate/predictions")
"""Below the project's root: the predicted masks, as <image_id>.png."""


class LabelledPair(Protocol):
    """What scoring needs of a row of split.csv; both paths are relative to data/."""

    @property
    def image_id(self) -> str:
        """`<class>/<name>`."""

    @property
    def class_name(self) -> str:
        """Its class."""

    @property
    def image_path(self) -> str:
        """The radiograph's file."""

    @property
    def mask_path(self) -> str:
        """The mask's file."""

    @property
    def image_sha256(self) -> str:
        """Of the radiograph's file."""

    @property
    def mask_sha256(self) -> str:
        """Of the mask's file."""

    @property
    def pixel_sha256(self) -> str:
        """Of the radiograph's pixels."""

    @property
    def group(self) -> str:
        """Its group in split.csv."""


def score_images(
    predictor: Segmenter,
    pairs: Sequence[LabelledPair],
    data: Path,
    params: EvaluateParams,
    predictions: Path | None,
) -> list[ImageScores]:
    """Score `predictor` on the radiographs of `pairs`, each at the size of its own mask.

    The paths of the pairs are below `data`, and the result is in their order. Predicted masks are
    written below `predictions` as <image_id>.png, unless it is None. One batch is in memory at a
    time. Raises DatasetError when a file is not the one that was split or cannot be read,
    StageError when a probability is not finite.
    """
    scored: list[ImageScores] = []
    for start in range(0, len(pairs), params.batch_size):
        batch = pairs[start : start + params.batch_size]
        scored.extend(_score_batch(predictor, batch, data, params, predictions))
    return scored


def _score_batch(
    predictor: Segmenter,
    pairs: Sequence[LabelledPair],
    data: Path,
    params: EvaluateParams,
    predictions: Path | None,
) -> Iterator[ImageScores]:
    images = [read_radiograph(data / pair.image_path, pair.image_sha256) for pair in pairs]
    truths = [read_mask(data / pair.mask_path, pair.mask_sha256) for pair in pairs]
    sizes = [(truth.shape[0], truth.shape[1]) for truth in truths]
    probabilities = predictor.predict(images, sizes)
    for pair, truth, lung in zip(pairs, truths, probabilities, strict=True):
        mask = _binarise(lung, params.threshold, pair.image_id)
        if predictions:
            _write_mask(predictions / f"{pair.image_id}.png", mask)
        counts = confusion(mask, truth)
        yield ImageScores(
            pair.image_id, pair.class_name, pair.pixel_sha256, pair.group, counts, score(counts)
        )


def _binarise(lung: NDArray[np.float32], threshold: float, image_id: str) -> NDArray[np.uint8]:
    if not np.isfinite(lung).all():
        raise StageError(
            f"{image_id}: the model gives probabilities that are not finite, expected 0 to 1; "
            "train it again",
        )
    return (lung >= threshold).astype(np.uint8)


def _write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(path, format="PNG")
