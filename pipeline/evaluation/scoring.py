"""Scoring a network on radiographs whose masks are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.conventions import nearest_conventions
from pipeline.errors import StageError
from pipeline.evaluation.boundary import border_scores
from pipeline.evaluation.confidence import Bins, bin_pixels, measure_confidence
from pipeline.evaluation.per_image import Agreement, ImageScores
from pipeline.evaluation.scores import confusion
from pipeline.evaluation.sides import midline, sides_of
from pipeline.inference.segmenter import Segmenter
from pipeline.params import EvaluateParams
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph

PREDICTIONS = Path("artifacts/evaluate/predictions")
PROBABILITIES = Path("artifacts/evaluate/probabilities")
"""Both below the project's root, as <image_id>.png: the predicted masks, and the probabilities that
they are made of, 0..255."""


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
    def split(self) -> str:
        """train, val or test."""

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

    @property
    def source(self) -> str:
        """Where it is from; may be empty."""

    @property
    def spacing(self) -> float:
        """Of the mask, millimetres per pixel; NaN where it is not known."""

    @property
    def convention(self) -> str:
        """Of the mask."""

    @property
    def convention_by(self) -> str:
        """Who says so, as in the manifest."""


@dataclass(frozen=True)
class Answer:
    """A radiograph with what the network says, all at the mask's size (H, W)."""

    image: Grey
    """The radiograph at its own size."""
    truth: NDArray[np.uint8]
    """0 and 1, as `mask`."""
    probability: NDArray[np.float32]
    mask: NDArray[np.uint8]

    @cached_property
    def bins(self) -> Bins:
        """The pixels by their probability."""
        return bin_pixels(self.probability, self.truth)


def score_images(
    predictor: Segmenter, pairs: Sequence[LabelledPair], data: Path, params: EvaluateParams
) -> list[ImageScores]:
    """Score `predictor` on the radiographs of `pairs`, each at the size of its own mask.

    It is asked for the convention of each mask or, where it does not know that, for its default.
    The paths of the pairs are below `data`, and the result is in their order. Raises DatasetError
    when a file is not the one that was split or cannot be read, StageError when a probability is
    not finite.
    """
    return [
        score_answer(pair, answer) for pair, answer in answer_pairs(predictor, pairs, data, params)
    ]


def answer_pairs(
    predictor: Segmenter, pairs: Sequence[LabelledPair], data: Path, params: EvaluateParams
) -> Iterator[tuple[LabelledPair, Answer]]:
    """Each pair with the network's answer; one batch is in memory at a time. Raises as above."""
    for start in range(0, len(pairs), params.batch_size):
        batch = pairs[start : start + params.batch_size]
        images = [read_radiograph(data / pair.image_path, pair.image_sha256) for pair in batch]
        truths = [read_mask(data / pair.mask_path, pair.mask_sha256) for pair in batch]
        asked = nearest_conventions((pair.convention for pair in batch), predictor.conventions)
        probabilities = predictor.predict(images, [_size(truth) for truth in truths], asked)
        for pair, image, truth, lung in zip(batch, images, truths, probabilities, strict=True):
            mask = binarise(lung, params.threshold, pair.image_id)
            yield pair, Answer(image, truth, lung, mask)


def score_answer(pair: LabelledPair, answer: Answer) -> ImageScores:
    """Everything that is measured of one answer."""
    column = midline(answer.truth)
    found, lung = sides_of(answer.mask, column), sides_of(answer.truth, column)
    return ImageScores(
        image_id=pair.image_id,
        class_name=pair.class_name,
        source=pair.source,
        pixel_sha256=pair.pixel_sha256,
        group=pair.group,
        spacing=pair.spacing,
        convention=pair.convention,
        convention_by=pair.convention_by,
        both=_agreement(answer.mask, answer.truth),
        left=_agreement(found["left"], lung["left"]),
        right=_agreement(found["right"], lung["right"]),
        confidence=measure_confidence(answer.probability, answer.truth, answer.mask, answer.bins),
    )


def _agreement(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Agreement:
    return Agreement(confusion(mask, truth), border_scores(mask, truth))


def _size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def binarise(lung: NDArray[np.float32], threshold: float, image_id: str) -> NDArray[np.uint8]:
    """The mask of probabilities (H, W); raises StageError when one is not finite."""
    if not np.isfinite(lung).all():
        raise StageError(
            f"{image_id}: the model gives probabilities that are not finite, expected 0 to 1; "
            "train it again",
        )
    return (lung >= threshold).astype(np.uint8)


def write_answer(folder: Path, image_id: str, answer: Answer) -> None:
    """Write the mask and the probabilities below `folder`, which is artifacts/evaluate."""
    for name, picture in (
        (PREDICTIONS.name, answer.mask * np.uint8(255)),
        (PROBABILITIES.name, np.rint(answer.probability * 255).astype(np.uint8)),
    ):
        path = folder / name / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, format="PNG")
