"""What a training says of itself: a line an epoch, and one a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.model.checkpoint import Checkpoint, Position
from pipeline.model.observers import TrainingObserver, check_finite
from pipeline.model.pace import EpochSize, Pace, seconds_left, spoken_time
from pipeline.model.training_history import EpochRow
from pipeline.params import TrainParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moment:
    """Where a training is: in which epoch, counted from 1, where there, and its loss so far."""

    epoch: int
    position: Position
    loss: float | None


class EpochLog:
    """Logs how a training goes and stops it on a loss that is no number."""

    def __init__(
        self,
        params: TrainParams,
        size: EpochSize,
        found: Checkpoint | None,
        observer: TrainingObserver | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`found` is what the training resumes from."""
        self._params, self._size, self._observer = params, size, observer
        self._next = found.position if found else Position()
        # One object, replaced as a whole: another thread may look at any time.
        self._now = Moment(found.epoch if found else 0, self._next, None)
        self._training, self._validation = Pace(clock), Pace(clock)
        self._clock = clock
        self._started = self._epoch_started = clock()
        self._trained = 0
        """Batches of this epoch, by this process."""
        self._unread: Callable[[], Any] | None = None
        """Reads the loss of the batch that ended last, which the device may not have done yet."""

    def begin(self) -> None:
        """Start the clock of the next epoch."""
        position, self._next, self._trained = self._next, Position(), 0
        self._now = Moment(self._now.epoch + 1, position, position.measured.get("loss"))
        self._epoch_started = self._clock()
        self._training.begin()
        self._validation.begin()
        if not self._goes:
            self.beat()

    def trained(self, batch: int, means: Mapping[str, Any]) -> None:
        """Count a batch and check the mean loss of the epoch up to the batch before.

        The loss of this one is read later, with `check` or the next batch, so that the device has
        the next batch before it has done this one.
        """
        self.check()
        self._training.end()
        self._validation.begin()
        self._trained += 1
        self._now = replace(self._now, position=Position(batch + 1))
        self._unread = lambda: self._read_loss(means)
        if batch + 1 == self._size.steps:
            self.check()

    def validated(self, batch: int, means: Mapping[str, Any]) -> None:
        """Count a batch and check the mean loss of the validation, as `trained` does."""
        self.check()
        self._validation.end()
        self._now = replace(self._now, position=Position(self._size.steps, batch + 1))
        self._unread = lambda: self._finite("val_loss", means)

    def check(self) -> None:
        """Wait for the last batch; raises StageError when its loss is no number."""
        unread, self._unread = self._unread, None
        if unread:
            unread()

    def _read_loss(self, means: Mapping[str, Any]) -> None:
        self._now = replace(self._now, loss=self._finite("loss", means))

    def _finite(self, name: str, means: Mapping[str, Any]) -> float:
        loss = float(means["loss"])
        check_finite(name, loss, self._now.epoch, self._params)
        return loss

    def end(self, row: EpochRow) -> None:
        """Report and hand on a finished epoch."""
        self.check()
        whole = Position(self._size.steps, self._size.validation_steps)
        self._now = Moment(self._now.epoch, whole, row["loss"])
        seconds = max(self._clock() - self._epoch_started, 1e-9)
        speed = self._trained * self._size.batch / seconds
        told = [f"{name} {row[name]:.4f}" for name in ("loss", "val_loss", "val_dice")]
        told += [f"{speed:.1f} images/s"] if speed else []
        log.info("epoch %s: %s", self._of(self._now), ", ".join([*told, *self._left(self._now)]))
        if self._observer:
            measured = {"images_per_second": speed} if speed else {}
            self._observer.log_epoch({**row, **measured})

    def finish(self, best: EpochRow) -> None:
        """Say that no epoch follows."""
        now, best_of = self._now, int(best["epoch"])
        done = f"{now.epoch} of {self._params.epochs} epochs trained, the best is {best_of}"
        text = f"{done}; writing and checking its network"
        self._tell(text, now.epoch * self._size.steps, {})

    def beat(self) -> None:
        """Say where the training is."""
        now = self._now
        step = (now.epoch - 1) * self._size.steps + now.position.trained
        self._tell(self._text(now), step, self._values(now, step))

    def _tell(self, text: str, step: int, values: Mapping[str, float]) -> None:
        log.info("%s", text)
        if self._observer:
            self._observer.log_progress(text, step, values)

    @property
    def _goes(self) -> bool:
        """Whether a batch has ended in this process."""
        return (self._training.seconds or self._validation.seconds) is not None

    def _of(self, now: Moment) -> str:
        return f"{now.epoch}/{self._params.epochs}"

    def _text(self, now: Moment) -> str:
        if not self._goes:
            seconds = self._clock() - self._started
            so_far = f", {spoken_time(seconds)} so far" if seconds >= 1 else ""
            return f"preparing epoch {self._of(now)}: compiling the first step{so_far}"
        validating = now.position.trained == self._size.steps
        parts = [
            f"epoch {self._of(now)}",
            _share("trained", now.position.trained, self._size.steps),
        ]
        if validating:
            steps = self._size.validation_steps
            parts.append(_share("validated", now.position.validated, steps))
        told = [] if now.loss is None else [f"loss {now.loss:.4f}"]
        pace = self._validation if validating else self._training
        told += [f"{self._size.batch / pace.seconds:.1f} images/s"] if pace.seconds else []
        return f"{', '.join(parts)}: {', '.join([*told, *self._left(now)])}"

    def _values(self, now: Moment, step: int) -> dict[str, float]:
        """What is known of the training as numbers."""
        pace, left = self._training.seconds, self._seconds_left(now)
        if now.loss is None or not pace or left is None:
            return {}
        return {
            "loss": now.loss,
            "images_per_second": self._size.batch / pace,
            "epochs": step / self._size.steps,
            "minutes_left": left / 60,
        }

    def _left(self, now: Moment) -> list[str]:
        """The time until the last epoch, if it can be told."""
        left = self._seconds_left(now)
        return [] if left is None else [f"{spoken_time(left)} left"]

    def _seconds_left(self, now: Moment) -> float | None:
        epochs = self._params.epochs - now.epoch + 1
        trained = epochs * self._size.steps - now.position.trained
        validated = epochs * self._size.validation_steps - now.position.validated
        return seconds_left(self._training, self._validation, (trained, validated))


def _share(done: str, batches: int, of: int) -> str:
    return f"{100 * batches // of} % {done}"
