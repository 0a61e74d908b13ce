"""How fast a training goes, and how long it takes until its last epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

RECENT = 200
"""Batches by whose mean time the rest is judged."""

VALIDATION_SHARE = 1 / 3
"""Of the time of a batch that is trained, what one takes that is validated, until one has been: a
step forward, of one forward and two of that size backward."""


@dataclass(frozen=True)
class EpochSize:
    """Batches of an epoch, and radiographs in each that is trained on."""

    steps: int
    validation_steps: int
    batch: int


class Pace:
    """Seconds that batches of a kind take here and now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._since = clock, clock()
        self._batches = 0
        self.seconds: float | None = None
        """Of a batch; None before the first has ended, whose own time counts only while alone."""

    def begin(self) -> None:
        """A batch begins that does not follow another one at once."""
        self._since = self._clock()

    def end(self) -> None:
        """A batch has ended, and the next one begins."""
        now = self._clock()
        took, self._since = now - self._since, now
        others = min(self._batches, RECENT)  # than the first, with which its step was compiled
        before = took if self.seconds is None or others < 2 else self.seconds
        self.seconds = before + (took - before) / max(others, 1)
        self._batches += 1


def seconds_left(training: Pace, validation: Pace, batches: tuple[int, int]) -> float | None:
    """Until so many batches are trained and so many validated; None when there is no telling."""
    trains, validates = training.seconds, validation.seconds
    if trains is None:
        return None
    validates = trains * VALIDATION_SHARE if validates is None else validates
    return batches[0] * trains + batches[1] * validates


def spoken_time(seconds: float) -> str:
    """As people say it: 40 s, 38 min, 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
