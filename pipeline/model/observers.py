"""What people see of a training while it runs, and the check that it still makes sense."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

import keras
import numpy as np

from pipeline.errors import StageError
from pipeline.model.batches import read_first
from pipeline.model.shards import Shards
from pipeline.model.training_history import EpochRow
from pipeline.params import TrainParams

log = logging.getLogger(__name__)

EXAMPLES = 4
"""Validation radiographs that an observer sees, always the same."""

EXAMPLES_EVERY = 2
"""Epochs from one look at them to the next; the first and the last epoch are shown too."""


class TrainingObserver(Protocol):
    """Who is told how a training goes, such as pipeline.tracking.live.LiveRun."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """A new row of the history, with `images_per_second`: trained on, by the whole epoch."""
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


class EpochLog:
    """Logs one line per epoch and stops on a loss that is no number."""

    def __init__(
        self,
        params: TrainParams,
        records: int,
        done: int,
        observer: TrainingObserver | None,
    ) -> None:
        self._params = params
        self._records = records
        self._before = self._epoch = done
        self._observer = observer
        self._started = self._epoch_started = time.monotonic()

    def begin(self) -> None:
        """Start the clock of the next epoch."""
        self._epoch += 1
        self._epoch_started = time.monotonic()

    def check_batch(self, batch: int, logs: Mapping[str, float]) -> None:
        """Check the mean loss of the epoch so far."""
        check_finite("loss", logs["loss"], self._epoch, self._params)

    def end(self, row: EpochRow) -> None:
        """Report and hand on a finished epoch."""
        now = time.monotonic()
        speed = self._records / max(now - self._epoch_started, 1e-9)
        each = (now - self._started) / (self._epoch - self._before)
        log.info(
            "epoch %d/%d: loss %.4f, val_loss %.4f, val_dice %.4f, %.1f images/s, %.0f s left",
            self._epoch,
            self._params.epochs,
            row["loss"],
            row["val_loss"],
            row["val_dice"],
            speed,
            each * (self._params.epochs - self._epoch),
        )
        if self._observer:
            self._observer.log_epoch({**row, "images_per_second": speed})


class Examples:
    """Shows an observer what the network makes of the same validation radiographs."""

    def __init__(self, params: TrainParams, val: Shards, observer: TrainingObserver | None) -> None:
        self._last = params.epochs
        self._observer = observer
        if observer:
            self._images, _, self._masks = read_first(val, EXAMPLES)

    def show(self, epoch: int, network: keras.Model) -> None:
        """Let the observer see the network's answers, if it is time for it."""
        if self._observer and (epoch in (1, self._last) or epoch % EXAMPLES_EVERY == 0):
            lungs = np.asarray(network.predict_on_batch(self._images[..., None]), np.float32)
            self._observer.log_examples(epoch, self._images, self._masks, lungs[..., 0])
