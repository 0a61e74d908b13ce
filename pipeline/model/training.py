"""Fitting the network: the loop, when it stops and where it resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipeline.model.batches import read_batches
from pipeline.model.checkpoint import Checkpoint, Checkpoints
from pipeline.model.devices import Devices, compute_policy, translated_errors
from pipeline.model.keras_input import KerasInput
from pipeline.model.losses import accuracy, dice, iou, loss_function
from pipeline.model.observers import EpochLog, Examples, TrainingObserver, check_finite
from pipeline.model.shards import Shards
from pipeline.model.training_history import HISTORY, EpochRow
from pipeline.model.unetpp import build_unetpp, supervised
from pipeline.params import TrainParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A trained network, at the weights of its best epoch, and how it got there."""

    network: keras.Model
    history: list[EpochRow]

    @property
    def best(self) -> EpochRow:
        """The epoch of the lowest validation loss, the first of equals."""
        return best_epoch(self.history)


def best_epoch(history: list[EpochRow]) -> EpochRow:
    """The epoch of the lowest validation loss, the first of equals."""
    return min(history, key=lambda row: row["val_loss"])


def fit(
    params: TrainParams,
    train: Shards,
    val: Shards,
    checkpoints: Checkpoints,
    observer: TrainingObserver | None = None,
) -> Fitted:
    """Train until `params.epochs` or until the validation loss stops falling.

    Resumes after the last of `checkpoints`, and adds one after every epoch. Raises StageError when
    the loss is no longer a number, a shard is damaged or a checkpoint cannot be written,
    CrashedError when the device has too little memory.
    """
    training = Training(params, train, val)
    found = checkpoints.latest()
    if found:
        training.restore(found)
        log.info(
            "resuming after epoch %d of %d (%s)", found.epoch, params.epochs, checkpoints.folder
        )
    epochs = EpochLog(params, train.records, training.epoch, observer)
    examples = Examples(params, val, observer)
    while not training.finished:
        epochs.begin()
        row = training.run_epoch(epochs.check_batch, examples.show)
        # First the checkpoint: so no epoch is reported again by a process that resumes after it.
        checkpoints.save(training.checkpoint())
        epochs.end(row)
    return Fitted(training.network(), training.history)


def learning_rate(params: TrainParams, steps: int) -> Callable[[int], Any]:
    """The learning rate at every step of a training of `steps` steps an epoch.

    It rises linearly over the epochs of warm-up, then stays, or falls to 0 at the last epoch along
    a cosine (Loshchilov, Hutter: "SGDR", ICLR 2017, without restarts).
    """
    warmup = params.warmup_epochs * steps
    schedule: Callable[[int], Any] = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else params.learning_rate,
        decay_steps=params.epochs * steps - warmup,
        alpha=0.0 if params.schedule == "cosine" else 1.0,
        warmup_target=params.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return schedule


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Within, layers are made to compute as the policy of Keras says."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class Training:
    """A network, its optimizer and how they got where they are, epoch by epoch."""

    def __init__(self, params: TrainParams, train: Shards, val: Shards) -> None:
        self._params, self._train = params, train
        self._devices = Devices(params)
        self._steps = len(read_batches(train, params.batch_size, params.seed))
        self._rate = learning_rate(params, self._steps)
        averaging = params.weight_averaging
        with self._devices.scope(), _dtype_policy(compute_policy(params.precision)):
            self._network = build_unetpp(train.image_size, params, synchronized=self.replicas > 1)
            self._supervised = supervised(self._network)
            self._supervised.compile(
                optimizer=keras.optimizers.Adam(
                    self._rate, use_ema=averaging > 0, ema_momentum=averaging
                ),
                loss=loss_function(params.loss),
                metrics=[accuracy, dice, iou],
                jit_compile=params.xla,
            )
            # By default the first step does it, too late for what is restored.
            self._supervised.optimizer.build(self._supervised.trainable_variables)
        self._val = read_batches(val, params.batch_size)
        self.history: list[EpochRow] = []
        self.best_weights = self._network.get_weights()

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1."""
        return len(self.history)

    @property
    def replicas(self) -> int:
        """Devices that share each batch."""
        return self._devices.replicas

    @property
    def finished(self) -> bool:
        """Whether all epochs are over, or `patience` of them were no better than the best."""
        if not self.history:
            return False
        waited = self.epoch - best_epoch(self.history)["epoch"]
        return self.epoch >= self._params.epochs or waited >= self._params.patience

    def run_epoch(
        self,
        on_batch: Callable[[int, Mapping[str, float]], None],
        on_validated: Callable[[int, keras.Model], None],
    ) -> EpochRow:
        """Train one epoch and validate; its row is then the last of the history.

        The order of the radiographs depends on the epoch and the seed alone, whichever process
        runs the epoch. `on_validated` gets the epoch and the network as it was validated. Raises
        StageError when the loss is no number or a shard is damaged, CrashedError when the device
        has too little memory.
        """
        epoch = self.epoch + 1
        trained: list[Any] = []
        with translated_errors(self._train):
            values = self._fit(epoch, on_batch, trained)
            # From the end of `fit` on, the weights are their moving average.
            with self._val.reading() as batches:
                found = self._supervised.evaluate(KerasInput(batches), return_dict=True, verbose=0)
        values |= {f"val_{name}": float(value) for name, value in found.items()}
        values |= {"epoch": epoch, "learning_rate": float(self._rate(epoch * self._steps - 1))}
        row = {column: values[column] for column in HISTORY.columns}
        check_finite("val_loss", row["val_loss"], epoch, self._params)
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best_weights = self._network.get_weights()
        on_validated(epoch, self._network)
        self._assign(self._supervised.trainable_variables, trained)
        return row

    def _fit(
        self,
        epoch: int,
        on_batch: Callable[[int, Mapping[str, float]], None],
        trained: list[Any],
    ) -> EpochRow:
        """Train one epoch; `trained` gets the weights before they are averaged."""
        seed = epoch_seed(self._params.seed, epoch)
        keras.utils.set_random_seed(seed)
        variables = self._supervised.trainable_variables
        keep = keras.callbacks.LambdaCallback(
            on_train_batch_end=on_batch,
            on_epoch_end=lambda epoch, logs: trained.extend(_arrays(variables)),
        )
        train = read_batches(self._train, self._params.batch_size, seed, epoch=epoch)
        with train.reading() as batches:
            logs = self._supervised.fit(
                KerasInput(batches),
                callbacks=[keep],
                shuffle=False,  # the batches are
                verbose=0,
            ).history
        return {name: float(value) for name, [value] in logs.items()}

    def network(self) -> keras.Model:
        """The network with the weights of its best epoch, in float32 and for any device."""
        # No ImageNet weights: they would be fetched to be overwritten.
        plain = self._params.model_copy(update={"encoder_weights": None})
        network = build_unetpp(self._train.image_size, plain)
        network.set_weights(self.best_weights)
        return network

    def checkpoint(self) -> Checkpoint:
        """All that another process needs to resume as if it were this one."""
        return Checkpoint(self.history, _arrays(self._variables()), self.best_weights)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume after a checkpoint of the same training."""
        self._assign(self._variables(), checkpoint.state)
        self.history = checkpoint.history
        self.best_weights = checkpoint.best

    def _assign(self, variables: list[Any], values: list[Any]) -> None:
        with self._devices.scope():
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _variables(self) -> list[Any]:
        """Weights, means of the normalisation, seeds of random layers; then the optimizer's."""
        return [*self._supervised.variables, *self._supervised.optimizer.variables]


def _arrays(variables: list[Any]) -> list[Any]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for every epoch, 0 to 2^31 - 1."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]) >> 1
