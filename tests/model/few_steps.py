"""Train one epoch from a checkpoint, as a process with an engine and devices of its own.

python -m tests.model.few_steps PARAMS SHARDS CHECKPOINTS CPUS, with KERAS_BACKEND; prints the row
of the history as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.files import read_json
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.shards import find_shards
from pipeline.params import Params

if TYPE_CHECKING:
    from pipeline.model.training import Training


def main(params: Path, shards: Path, checkpoints: Path, cpus: str) -> None:
    """Print the first epoch's row."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    virtual = [tf.config.LogicalDeviceConfiguration() for _ in range(int(cpus))]
    tf.config.set_logical_device_configuration(cpu, virtual)

    from pipeline.model.training import Training

    wanted = Params.model_validate(read_json(params)).train
    training = Training(wanted, find_shards(shards, "train"), find_shards(shards, "val"))
    start = Checkpoints(checkpoints).latest()
    assert start
    training.restore(start)
    sys.stdout.write(json.dumps(run_epoch(training)))


def run_epoch(training: Training) -> dict[str, Any]:
    """The next epoch's row of the history, with the loss of each batch and how many devices."""
    losses: list[float] = []
    row = training.run_epoch(
        lambda batch, logs: losses.append(float(logs["loss"])), lambda epoch, network: None
    )
    return {"losses": losses, "replicas": training.replicas, **row}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
