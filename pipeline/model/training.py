"""Fitting the network: the loop, when it stops and where it resumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from pipeline.model.batches import read_batches
from pipeline.model.checkpoint import Checkpoint, Checkpoints, Position
from pipeline.model.engine import compute_policy, engine_devices, translated_errors
from pipeline.model.epoch_log import EpochLog
from pipeline.model.heartbeat import heartbeat, told_meanwhile
from pipeline.model.keras_input import KerasInput
from pipeline.model.learning_rate import learning_rate
from pipeline.model.losses import accuracy, dice, iou, loss_function
from pipeline.model.observers import Examples, TrainingObserver, check_finite
from pipeline.model.pace import EpochSize
from pipeline.model.passes import Pass, PassCallbacks, read_sums, synchronise
from pipeline.model.shards import Shards
from pipeline.model.training_history import HISTORY, EpochRow
from pipeline.model.unetpp import build_unetpp, supervised
from pipeline.params import TrainParams

log = logging.getLogger(__name__)

OnBatch = Callable[[int, Mapping[str, Any]], None]
"""Gets the place of a batch in its pass, from 0, and the means over the pass so far.

They are the engine's own: to read one waits for the device."""


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

    Resumes after the last of `checkpoints`, and adds one after every epoch and whenever one is due.
    Raises StageError when the loss is no longer a number, a shard is damaged or a checkpoint cannot
    be written, CrashedError when the device has too little memory.
    """
    with told_meanwhile("building the network"), translated_errors():
        training = Training(params, train, val)
        found = checkpoints.latest()
        if found:
            training.restore(found)
    if found:
        batches = found.position.batches
        within = f", batch {batches} of the next" if batches else ""
        after = f"epoch {found.epoch} of {params.epochs}{within}"
        log.info("resuming after %s (%s)", after, checkpoints.folder)
    epochs = EpochLog(params, training.size, found, observer)
    examples = Examples(params, val, observer)

    def watched(told: OnBatch) -> OnBatch:
        def on_batch(batch: int, means: Mapping[str, Any]) -> None:
            told(batch, means)
            if checkpoints.due:
                epochs.check()
                checkpoints.save(training.checkpoint())

        return on_batch

    with heartbeat(epochs.beat), translated_errors():
        while not training.finished:
            epochs.begin()
            row = training.run_epoch(
                watched(epochs.trained), examples.show, watched(epochs.validated)
            )
            # First the checkpoint: so no epoch is told again by a process that resumes after it.
            checkpoints.save(training.checkpoint())
            epochs.end(row)
        epochs.finish(best_epoch(training.history))
        return Fitted(training.network(), training.history)


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
        self._params, self._train, self._val = params, train, val
        self._devices = engine_devices()(params)
        taken = min(params.batch_size, train.records)
        self._devices.check_batch(taken)
        steps = len(read_batches(train, params.batch_size, params.seed))
        self.size = EpochSize(steps, len(read_batches(val, params.batch_size)), taken)
        self._rate = learning_rate(params, steps)
        averaging = params.weight_averaging
        with self._devices.scope(), _dtype_policy(compute_policy(params.precision)):
            synchronized = self._devices.synchronized and self.replicas > 1
            self._network = self._build(params, synchronized=synchronized)
            self._supervised = supervised(self._network)
            self._supervised.compile(
                optimizer=keras.optimizers.Adam(
                    self._rate, use_ema=averaging > 0, ema_momentum=averaging
                ),
                loss=loss_function(params.loss),
                metrics=[accuracy, dice, iou],
                jit_compile=params.xla or params.engine == "jax",
            )
            # By default the first step does it, too late for what is restored.
            self._supervised.optimizer.build(self._supervised.trainable_variables)
        self.history: list[EpochRow] = []
        self.best_weights = self._network.get_weights()
        self._at = Position()
        self._state: list[Any] = []
        """Once all batches of an epoch are trained: as they left it, not averaged."""

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
        on_batch: OnBatch,
        on_validated: Callable[[int, keras.Model], None],
        on_validation_batch: OnBatch = lambda batch, means: None,
    ) -> EpochRow:
        """Train what is left of an epoch and validate; its row is then the last of the history.

        The order of the radiographs depends on the epoch and the seed alone, whichever process
        runs the epoch. `on_validated` gets the epoch and the network as it was validated; of the
        last batch of the validation nothing else is told. Raises StageError when the loss is no
        number or a shard is damaged, and what the engine raises when the device is out of memory.
        """
        epoch = self.epoch + 1
        if not self._at.measured:
            self._fit(epoch, on_batch)
        found = self._validate(on_validation_batch)
        values = self._at.measured | {f"val_{name}": value for name, value in found.items()}
        rate = float(self._rate(epoch * self.size.steps - 1))
        values |= {"epoch": epoch, "learning_rate": rate}
        row = {column: values[column] for column in HISTORY.columns}
        check_finite("val_loss", row["val_loss"], epoch, self._params)
        self.history.append(row)
        if best_epoch(self.history) is row:
            self.best_weights = self._network.get_weights()
        on_validated(epoch, self._network)
        self._assign(self._variables(), self._state)
        self._at, self._state = Position(), []
        return row

    def _fit(self, epoch: int, on_batch: OnBatch) -> None:
        """Train the batches of an epoch that are left; then the weights are their average."""

        def told(means: Mapping[str, Any]) -> None:
            self._at = Position(trained=self._at.trained + 1)
            if self._at.trained == self.size.steps:
                self._at = replace(self._at, measured=self._means())
                self._state = _arrays(self._variables())
            on_batch(self._at.trained - 1, means)

        seed = epoch_seed(self._params.seed, epoch)
        keras.utils.set_random_seed(seed)
        train = read_batches(
            self._train, self._params.batch_size, seed, skip=self._at.trained, epoch=epoch
        )
        with train.reading() as batches:
            self._supervised.fit(
                KerasInput(batches, self._devices.share),
                callbacks=self._telling(told),
                shuffle=False,  # the batches are
                verbose=0,
            )

    def _validate(self, on_batch: OnBatch) -> EpochRow:
        """The means over the validation radiographs, of which some may have been validated."""

        def told(means: Mapping[str, Any]) -> None:
            self._at = replace(self._at, validated=self._at.validated + 1, sums=[])
            if self._at.validated < self.size.validation_steps:
                on_batch(self._at.validated - 1, means)

        trainable = self._supervised.trainable_variables
        with self._devices.scope():  # the weights are averaged; `fit` did so, if there was one
            self._supervised.optimizer.finalize_variable_values(trainable)
        self._devices.part_from_optimizer(trainable)
        val = read_batches(self._val, self._params.batch_size, skip=self._at.validated)
        with val.reading() as batches, self._devices.validation(self._val.records):
            self._supervised.evaluate(
                KerasInput(batches, self._devices.share),
                callbacks=self._telling(told),
                verbose=0,
            )
        return self._means()

    def _telling(self, told: Callable[[Mapping[str, Any]], None]) -> PassCallbacks:
        return PassCallbacks([Pass(self._at.sums, told)], add_history=True, model=self._supervised)

    def _means(self) -> EpochRow:
        synchronise(self._supervised)
        found = self._supervised.get_metrics_result()
        return {name: float(value) for name, value in found.items()}

    def network(self) -> keras.Model:
        """The network with the weights of its best epoch, in float32 and for any device."""
        # No ImageNet weights: they would be fetched to be overwritten.
        plain = self._params.model_copy(update={"encoder_weights": None})
        with self._devices.alone():
            network = self._build(plain)
        network.set_weights(self.best_weights)
        return network

    def _build(self, params: TrainParams, *, synchronized: bool = False) -> keras.Model:
        shards = self._train
        return build_unetpp(
            shards.image_size,
            params,
            conventions=len(shards.conventions),
            synchronized=synchronized,
        )

    def checkpoint(self) -> Checkpoint:
        """All that another process needs to resume as if it were this one."""
        synchronise(self._supervised)
        state = self._state or _arrays(self._variables())
        within = self._at.validated or (self._at.trained and not self._at.measured)
        sums = read_sums(self._supervised) if within else []
        return Checkpoint(self.history[:], state, self.best_weights, replace(self._at, sums=sums))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume after a checkpoint of the same training."""
        self._assign(self._variables(), checkpoint.state)
        self.history = checkpoint.history
        self.best_weights = checkpoint.best
        self._at = checkpoint.position
        self._state = checkpoint.state if self._at.measured else []

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
