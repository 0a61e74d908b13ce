"""Fitting the network: the loop, what it reports and when it stops."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from pipeline.errors import StageError
from pipeline.model.losses import accuracy, dice, loss_function
from pipeline.model.shards import Shards, read_shards
from pipeline.model.unetpp import build_unetpp, supervised
from pipeline.params import TrainParams

log = logging.getLogger(__name__)

HISTORY = (
    "epoch",
    "loss",
    "accuracy",
    "dice",
    "val_loss",
    "val_accuracy",
    "val_dice",
    "learning_rate",
)
"""Columns of history.csv; epochs count from 1."""

Row = dict[str, float]

SHARD_FAULTS = (
    tf.errors.DataLossError,  # a checksum
    tf.errors.InvalidArgumentError,  # another image size
    tf.errors.FailedPreconditionError,  # another number of records
)


@dataclass(frozen=True)
class Fitted:
    """A trained network, at the weights of its best epoch, and how it got there."""

    network: keras.Model
    history: list[Row]

    @property
    def best(self) -> Row:
        """The epoch of the lowest validation loss, the first of equals."""
        return min(self.history, key=lambda row: row["val_loss"])


def fit(
    params: TrainParams,
    train: Shards,
    val: Shards,
    on_epoch: Callable[[Row], None] | None = None,
) -> Fitted:
    """Train until `params.epochs` or until the validation loss stops falling.

    `on_epoch` gets every row of the history as soon as it is there. Raises StageError when the
    loss is no longer a number or a shard is damaged.
    """
    strategy = _prepare(params)
    with strategy.scope():
        network = build_unetpp(train.image_size, params)
        trained = supervised(network)
        trained.compile(
            optimizer=keras.optimizers.Adam(params.learning_rate),
            loss=loss_function(params.loss),
            metrics=[accuracy, dice],
        )
    progress = Progress(params, train.records, on_epoch)
    try:
        trained.fit(
            read_shards(train, params.batch_size, params.seed),
            validation_data=read_shards(val, params.batch_size),
            epochs=params.epochs,
            callbacks=_callbacks(params, progress),
            shuffle=False,  # the shards are
            verbose=0,
        )
    except SHARD_FAULTS as error:
        raise StageError(
            f"{train.paths[0].parent}: a shard is damaged or of another size ({_reason(error)}); "
            "run the stage augment again",
        ) from None
    return Fitted(network, progress.history)


def _prepare(params: TrainParams) -> Any:
    """Seed everything and choose the devices, before anything touches one."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if params.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.backend.clear_session()  # layers without a name of their own count from one again
    keras.utils.set_random_seed(params.seed)
    log.info("training on %s", f"{len(gpus)} GPU" if gpus else "CPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _reason(error: tf.errors.OpError) -> str:
    """The last line of TensorFlow's message, between the traces of its graph."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    return [line for line in lines if line and not line.startswith("[[")][-1][:300]


def _callbacks(params: TrainParams, progress: Progress) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.LambdaCallback(
            on_epoch_begin=progress.begin,
            on_train_batch_end=progress.batch,
            on_epoch_end=progress.end,
        ),
        keras.callbacks.EarlyStopping(
            "val_loss",
            patience=params.patience,
            mode="min",
            restore_best_weights=True,
        ),
    ]


class Progress:
    """Keeps the history, says one line per epoch and stops on a loss that is no number."""

    def __init__(
        self,
        params: TrainParams,
        records: int,
        on_epoch: Callable[[Row], None] | None,
    ) -> None:
        self.history: list[Row] = []
        self._params = params
        self._records = records
        self._on_epoch = on_epoch
        self._epoch = 0
        self._started = self._epoch_started = time.monotonic()

    def begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock of an epoch, which Keras counts from 0."""
        self._epoch = epoch + 1
        self._epoch_started = time.monotonic()

    def batch(self, batch: int, logs: Mapping[str, float]) -> None:
        """Check the mean loss of the epoch so far."""
        self._check("loss", logs["loss"])

    def end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Record, report and hand on a finished epoch."""
        values = {**logs, "epoch": self._epoch, "learning_rate": self._params.learning_rate}
        row = {column: values[column] for column in HISTORY}
        self._check("val_loss", row["val_loss"])
        self.history.append(row)
        self._say(row)
        if self._on_epoch:
            self._on_epoch(row)

    def _check(self, name: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise StageError(
                f"train: {name} is {float(loss)} in epoch {self._epoch}, expected a finite number; "
                f"lower train.learning_rate (now {self._params.learning_rate:g}) or change "
                "train.seed",
            )

    def _say(self, row: Row) -> None:
        now = time.monotonic()
        left = (now - self._started) / self._epoch * (self._params.epochs - self._epoch)
        log.info(
            "epoch %d/%d: loss %.4f, val_loss %.4f, val_dice %.4f, %.1f images/s, %.0f s left",
            self._epoch,
            self._params.epochs,
            row["loss"],
            row["val_loss"],
            row["val_dice"],
            self._records / max(now - self._epoch_started, 1e-9),
            left,
        )
