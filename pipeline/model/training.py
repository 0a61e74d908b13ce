"""Fitting the network: the loop, what it reports, when it stops and what it goes on from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import StageError
from pipeline.model.checkpoint import Checkpoint, Checkpoints
from pipeline.model.losses import accuracy, dice, iou, loss_function
from pipeline.model.shards import Shards, read_shards
from pipeline.model.unetpp import build_unetpp, supervised
from pipeline.params import TrainParams

log = logging.getLogger(__name__)

HISTORY = (
    "epoch",
    "loss",
    "accuracy",
    "dice",
    "iou",
    "val_loss",
    "val_accuracy",
    "val_dice",
    "val_iou",
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
        return best_epoch(self.history)


def best_epoch(history: list[Row]) -> Row:
    """The epoch of the lowest validation loss, the first of equals."""
    return min(history, key=lambda row: row["val_loss"])


def fit(
    params: TrainParams,
    train: Shards,
    val: Shards,
    checkpoints: Checkpoints,
    on_epoch: Callable[[Row], None] | None = None,
) -> Fitted:
    """Train until `params.epochs` or until the validation loss stops falling.

    Goes on from the last of `checkpoints`, and adds one after every epoch. `on_epoch` gets every
    new row of the history as soon as it is there, with `images_per_second`: radiographs trained
    on in the epoch by its whole duration. Raises StageError when the loss is no longer a number,
    a shard is damaged or a checkpoint cannot be written.
    """
    training = Training(params, train, val)
    found = checkpoints.latest()
    if found:
        training.restore(found)
        log.info(
            "resuming after epoch %d of %d (%s)", found.epoch, params.epochs, checkpoints.folder
        )
    progress = Progress(params, train.records, training.epoch, on_epoch)
    while not training.finished:
        progress.begin()
        row = training.run_epoch(progress.batch)
        # First the checkpoint: so no epoch is reported again by a process that goes on from it.
        checkpoints.save(training.checkpoint())
        progress.end(row)
    training.network.set_weights(training.best_weights)
    return Fitted(training.network, training.history)


def circumstances() -> dict[str, Any]:
    """What shapes a result besides inputs, code and parameters: libraries and kind of device."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "devices": [str(detail.get("device_name", "GPU")) for detail in details] or ["CPU"],
    }


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


class Training:
    """A network, its optimizer and how they got where they are, epoch by epoch."""

    def __init__(self, params: TrainParams, train: Shards, val: Shards) -> None:
        self._params, self._train = params, train
        self._strategy = _prepare(params)
        with self._strategy.scope():
            self.network = build_unetpp(train.image_size, params)
            self._supervised = supervised(self.network)
            self._supervised.compile(
                optimizer=keras.optimizers.Adam(params.learning_rate),
                loss=loss_function(params.loss),
                metrics=[accuracy, dice, iou],
            )
            # By default the first step does it, too late for what is restored.
            self._supervised.optimizer.build(self._supervised.trainable_variables)
        self._val = read_shards(val, params.batch_size)
        self.history: list[Row] = []
        self.best_weights = self.network.get_weights()

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are over, or `patience` of them were no better than the best."""
        if not self.history:
            return False
        waited = self.epoch - best_epoch(self.history)["epoch"]
        return self.epoch >= self._params.epochs or waited >= self._params.patience

    def run_epoch(self, on_batch: Callable[[int, Mapping[str, float]], None]) -> Row:
        """Train one epoch and validate; its row is then the last of the history.

        The order of the radiographs depends on the epoch and the seed alone, whichever process
        runs the epoch. Raises StageError when the loss is no number or a shard is damaged.
        """
        epoch = self.epoch + 1
        values = self._fit(epoch_seed(self._params.seed, epoch), on_batch)
        values |= {"epoch": epoch, "learning_rate": self._params.learning_rate}
        row = {column: values[column] for column in HISTORY}
        check_finite("val_loss", row["val_loss"], epoch, self._params)
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best_weights = self.network.get_weights()
        return row

    def _fit(self, seed: int, on_batch: Callable[[int, Mapping[str, float]], None]) -> Row:
        keras.utils.set_random_seed(seed)
        try:
            logs = self._supervised.fit(
                read_shards(self._train, self._params.batch_size, seed),
                validation_data=self._val,
                callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=on_batch)],
                shuffle=False,  # the shards are
                verbose=0,
            ).history
        except SHARD_FAULTS as error:
            raise StageError(
                f"{self._train.paths[0].parent}: a shard is damaged or of another size "
                f"({_reason(error)}); run the stage augment again",
            ) from None
        return {name: float(value) for name, [value] in logs.items()}

    def checkpoint(self) -> Checkpoint:
        """All that another process needs to go on as if this one had."""
        state = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        return Checkpoint(self.history, state, self.best_weights)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same training."""
        with self._strategy.scope():
            for variable, value in zip(self._variables(), checkpoint.state, strict=True):
                variable.assign(value)
        self.history = checkpoint.history
        self.best_weights = checkpoint.best

    def _variables(self) -> list[Any]:
        """Weights, means of the normalisation, seeds of random layers; then the optimizer's."""
        return [*self._supervised.variables, *self._supervised.optimizer.variables]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for every epoch, 0 to 2^31 - 1."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]) >> 1


def check_finite(name: str, loss: float, epoch: int, params: TrainParams) -> None:
    """Raise StageError for a loss that is no number."""
    if not math.isfinite(loss):
        raise StageError(
            f"train: {name} is {float(loss)} in epoch {epoch}, expected a finite number; "
            f"lower train.learning_rate (now {params.learning_rate:g}) or change train.seed",
        )


def _reason(error: tf.errors.OpError) -> str:
    """The last line of TensorFlow's message, between the traces of its graph."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    return [line for line in lines if line and not line.startswith("[[")][-1][:300]


class Progress:
    """Says one line per epoch and stops on a loss that is no number."""

    def __init__(
        self,
        params: TrainParams,
        records: int,
        done: int,
        on_epoch: Callable[[Row], None] | None,
    ) -> None:
        self._params = params
        self._records = records
        self._before = self._epoch = done
        self._on_epoch = on_epoch
        self._started = self._epoch_started = time.monotonic()

    def begin(self) -> None:
        """Start the clock of the next epoch."""
        self._epoch += 1
        self._epoch_started = time.monotonic()

    def batch(self, batch: int, logs: Mapping[str, float]) -> None:
        """Check the mean loss of the epoch so far."""
        check_finite("loss", logs["loss"], self._epoch, self._params)

    def end(self, row: Row) -> None:
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
        if self._on_epoch:
            self._on_epoch({**row, "images_per_second": speed})
