"""One pass over batches, which may begin in the midst of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np


class Pass(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is read without its types
    """Tells of each batch that is trained or validated, with the means of the pass so far.

    At its beginning Keras forgets what was measured before. So `sums`, which a checkpoint holds,
    are added to those of the first batch: there is nothing to restore before, for Keras makes the
    variables with the first batch, and the order of the additions is that of an undisturbed pass.
    """

    def __init__(self, sums: list[float], told: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._sums, self._told = sums, told

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell of a batch that is trained."""
        if self._sums:
            add_sums(self.model, self._sums)
            self._sums, logs = [], self.model.get_metrics_result()
        self._told(logs)

    on_test_batch_end = on_train_batch_end


class PassCallbacks(keras.callbacks.CallbackList):  # type: ignore[misc]
    """Callbacks that get the means of a batch as the engine gives them.

    Keras' own list makes numbers of them first, and so waits for the device before it hands it the
    next batch.
    """

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell of a batch that is trained."""
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell of a batch that is validated."""
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, logs)


def read_sums(network: keras.Model) -> list[float]:
    """The sums, of losses and of batches for example, of which Keras takes the means of a pass."""
    return [float(keras.ops.convert_to_numpy(one)) for one in network.metrics_variables]


def add_sums(network: keras.Model, sums: list[float]) -> None:
    """Add what `read_sums` gave earlier to the sums of now."""
    for variable, earlier in zip(network.metrics_variables, sums, strict=True):
        now = keras.ops.convert_to_numpy(variable)
        variable.assign(now + np.asarray(earlier, now.dtype))


def synchronise(network: keras.Model) -> None:
    """Let the variables hold what they should, also between two batches; JAX needs it."""
    getattr(network, "jax_state_sync", lambda: None)()
