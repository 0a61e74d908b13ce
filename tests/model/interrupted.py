"""Train with interruptions and without, as a process with an engine and devices of its own.

python -m tests.model.interrupted PARAMS SHARDS FOLDER CPUS NAME..., with KERAS_BACKEND; interrupts
after each checkpoint of these names. Prints as JSON how much the two differ.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.files import read_json
from pipeline.model.checkpoint import Checkpoint, Checkpoints
from pipeline.model.shards import find_shards
from pipeline.params import Params, TrainParams

if TYPE_CHECKING:
    from pipeline.model.training import Fitted


class InterruptedCheckpoints(Checkpoints):
    """One after every batch; after some the training is interrupted, once each."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        super().__init__(folder, every_s=0)
        self.names = set(names)

    def save(self, checkpoint: Checkpoint) -> None:
        super().save(checkpoint)
        if checkpoint.name in self.names:
            self.names.remove(checkpoint.name)
            raise InterruptedError


def fit_with_interruptions(
    params: TrainParams, shards: Path, checkpoints: InterruptedCheckpoints
) -> Fitted:
    """A training that was interrupted after each of the checkpoints and resumed."""
    from pipeline.model.training import fit

    while True:
        train, val = find_shards(shards, "train"), find_shards(shards, "val")
        try:
            return fit(params, train, val, checkpoints)
        except InterruptedError:
            continue


def fit_undisturbed(params: TrainParams, shards: Path, folder: Path) -> Fitted:
    """The same without an interruption, and without a checkpoint within an epoch."""
    from pipeline.model.training import fit

    train, val = find_shards(shards, "train"), find_shards(shards, "val")
    return fit(params, train, val, Checkpoints(folder, every_s=math.inf))


def difference(one: Fitted, two: Fitted) -> float:
    """The largest, of a number of the histories or of a weight."""
    rows = zip(one.history, two.history, strict=True)
    numbers = [abs(a[column] - b[column]) for a, b in rows for column in a]
    weights = zip(one.network.get_weights(), two.network.get_weights(), strict=True)
    return float(max(*numbers, *(np.abs(a - b).max() for a, b in weights)))


def divide_cpu(parts: int) -> None:
    """Let TensorFlow take the CPU for so many devices."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    virtual = [tf.config.LogicalDeviceConfiguration() for _ in range(parts)]
    tf.config.set_logical_device_configuration(cpu, virtual)


def main(params: str, shards: str, folder: str, cpus: str, *names: str) -> None:
    """Print the difference and the interruptions that did not come."""
    if int(cpus) > 1:
        divide_cpu(int(cpus))
    wanted = Params.model_validate(read_json(Path(params))).train
    undisturbed = fit_undisturbed(wanted, Path(shards), Path(folder, "undisturbed"))
    checkpoints = InterruptedCheckpoints(Path(folder, "interrupted"), names)
    resumed = fit_with_interruptions(wanted, Path(shards), checkpoints)
    found: dict[str, Any] = {
        "difference": difference(undisturbed, resumed),
        "epochs": len(resumed.history),
        "missing": sorted(checkpoints.names),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
