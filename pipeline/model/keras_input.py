"""Batches as Keras takes them, on every engine."""

from __future__ import annotations

from collections.abc import Callable

import keras

from pipeline.model.batches import Batch, BatchReading


class KerasInput(keras.utils.PyDataset):  # type: ignore[misc]
    """What `fit` and `evaluate` read, once or, where a strategy looks first, several times.

    A generator would lose the batches that were looked at.
    """

    def __init__(self, reading: BatchReading, share: Callable[[Batch], Batch]) -> None:
        """`share` gives this process' part of a batch."""
        super().__init__()  # in one thread: the batches are made ahead as it is
        self._reading, self._share = reading, share

    def __len__(self) -> int:
        return len(self._reading)

    def __getitem__(self, number: int) -> Batch:
        return self._share(self._reading[number])
