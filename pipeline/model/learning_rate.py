"""How the learning rate moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from pipeline.params import TrainParams


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
