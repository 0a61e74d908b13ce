"""What people see of a training while it runs, and the check that it still makes sense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import keras
import numpy as np

from pipeline.errors import StageError
from pipeline.model.batches import read_first
from pipeline.model.shards import Shards
from pipeline.model.telling import network_inputs
from pipeline.params import TrainParams

EXAMPLES = 4
"""Validation radiographs that an observer sees, always the same."""

EXAMPLES_EVERY = 2
"""Epochs from one look at them to the next; the first and the last epoch are shown too."""


class TrainingObserver(Protocol):
    """Who is told how a training goes, such as pipeline.tracking.live.LiveRun."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """A new row of the history, with `images_per_second`: trained on, by the whole epoch.

        The speed is left out where another process trained the epoch.
        """
        ...

    def log_progress(self, text: str, step: int, values: Mapping[str, float]) -> None:
        """Every minute, and at the beginning: what a person reads, and numbers if there are any.

        `step` counts the batches trained so far over all epochs. The numbers are `loss`, of the
        epoch so far, `images_per_second`, of now, `epochs`, done so far, and `minutes_left`.
        """
        ...

    def log_examples(self, epoch: int, images: Any, masks: Any, lungs: Any) -> None:
        """Images uint8 (n, S, S) 0..255, masks (n, S, S) 0/1, probabilities float32 (n, S, S)."""
        ...


def check_finite(name: str, loss: float, epoch: int, params: TrainParams) -> None:
    """Raise StageError for a loss that is no number."""
    if not math.isfinite(loss):
        raise StageError(
            f"train: {name} is {float(loss)} in epoch {epoch}, expected a finite number; "
            f"lower train.learning_rate (now {params.learning_rate:g}) or change train.seed",
        )


class Examples:
    """Shows an observer what the network makes of the same validation radiographs.

    Each in the convention of its own mask.
    """

    def __init__(self, params: TrainParams, val: Shards, observer: TrainingObserver | None) -> None:
        self._last = params.epochs
        self._observer = observer
        if observer:
            self._images, self._told, self._masks = read_first(val, EXAMPLES)

    def show(self, epoch: int, network: keras.Model) -> None:
        """Let the observer see the network's answers, if it is time for it."""
        if self._observer and (epoch in (1, self._last) or epoch % EXAMPLES_EVERY == 0):
            inputs = network_inputs(self._images[..., None], self._told)
            # With several GPUs TensorFlow gives the answers of each of them, one below the other.
            answers = network.predict_on_batch(inputs)[: len(self._images)]
            lungs = np.asarray(answers, np.float32)[..., 0]
            self._observer.log_examples(epoch, self._images, self._masks, lungs)
