"""Lung probabilities of radiographs of any size.

Part of the released model, so it imports nothing of the project but its errors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError

Grey = NDArray[np.uint8]
Probability = NDArray[np.float32]


class Predictor:
    """A trained network, with the resizing between radiographs and its own input."""

    def __init__(self, model_path: Path) -> None:
        """Load `model_path` in safe mode; raises StageError when it is not a usable network."""
        self._network = _load(model_path)
        self.image_size: int = self._network.input_shape[1]
        """Side of the network's square input, pixels."""

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        batch_size: int = 16,
    ) -> list[Probability]:
        """Lung probabilities float32 (h, w), 0..1, of radiographs uint8 (H, W), 0..255.

        `sizes` gives the (height, width) of each answer, by default that of its radiograph. A
        threshold belongs after this resize.
        """
        wanted = [image.shape for image in images] if sizes is None else list(sizes)
        inputs = (fit_radiograph(image, self.image_size) for image in images)
        maps = itertools.chain.from_iterable(map(self._run, _batches(inputs, batch_size)))
        return [_resize(found, size) for found, size in zip(maps, wanted, strict=True)]

    def _run(self, batch: Sequence[Grey]) -> Probability:
        output = self._network.predict_on_batch(np.stack(batch)[..., None])
        return np.asarray(output, np.float32)[..., 0]


def fit_radiograph(image: Grey, side: int) -> Grey:
    """A radiograph uint8 (H, W) at the network's size (side, side), in training and prediction."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


def _load(model_path: Path) -> Any:
    import keras

    try:
        network = keras.models.load_model(model_path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StageError(
            f"{model_path}: not a network that Keras loads in safe mode "
            f"({' '.join(str(error).split())[:160]}); train it again or pull it from its source",
        ) from None
    shape = network.input_shape
    if len(shape) != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != 1:
        raise StageError(
            f"{model_path}: the network takes {shape}, expected (None, S, S, 1) with one S; "
            "give a network of the train stage",
        )
    return network


def _batches(images: Iterator[Grey], size: int) -> Iterator[list[Grey]]:
    while batch := list(itertools.islice(images, size)):
        yield batch


def _resize(found: Probability, size: tuple[int, ...]) -> Probability:
    height, width = size
    if found.shape == (height, width):
        return found
    # Bilinear weights are positive and sum to one: the result stays within 0..1.
    resized = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
