"""Train one epoch from a checkpoint, as a process with an engine and devices of its own.

python -m tests.model.few_steps PARAMS SHARDS CHECKPOINTS CPUS; prints the row of the history as
JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import read_json
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.engine import choose_engine
from pipeline.model.shards import Shards, find_shards
from pipeline.params import Params, TrainParams
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.model.training import Training


def main(params: Path, shards: Path, checkpoints: Path, cpus: str) -> None:
    """Print the first epoch's row."""
    wanted = Params.model_validate(read_json(params)).train
    divide_cpu(wanted, int(cpus))

    from pipeline.model.processes import join_processes
    from pipeline.model.training import Training

    join_processes(wanted)
    training = Training(wanted, find_shards(shards, "train"), find_shards(shards, "val"))
    start = Checkpoints(checkpoints).latest()
    assert start
    training.restore(start)
    sys.stdout.write(json.dumps(run_epoch(training, wanted, find_shards(shards, "val"))))


def divide_cpu(wanted: TrainParams, cpus: int) -> None:
    """Choose the engine, and let it see as many devices."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    # It compiles for much longer than it then runs.
    flags = ["backend_optimization_level=0", f"force_host_platform_device_count={cpus}"]
    os.environ["XLA_FLAGS"] = " ".join(f"--xla_{flag}" for flag in flags)
    choose_engine(wanted, Settings().home)
    if wanted.engine == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        virtual = [tf.config.LogicalDeviceConfiguration() for _ in range(cpus)]
        tf.config.set_logical_device_configuration(cpu, virtual)


class Watching:
    """Is shown examples."""

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Take no note."""

    def log_progress(self, text: str, step: int, values: Mapping[str, float]) -> None:
        """Take no note."""

    def log_examples(self, epoch: int, images: Any, masks: Any, lungs: Any) -> None:
        """Note the shapes."""
        self.shown = [list(one.shape) for one in (images, masks, lungs)]


def run_epoch(training: Training, wanted: TrainParams, val: Shards) -> dict[str, Any]:
    """The next epoch's row of the history.

    With the loss of each batch, the shapes of what an observer is shown and how many devices.
    """
    from pipeline.model.observers import Examples
    from pipeline.model.processes import process_number

    losses: list[float] = []
    watching = Watching()

    def ended(batch: int, logs: Mapping[str, Any]) -> None:
        losses.append(float(logs["loss"]))
        if process_number() == 0:  # a checkpoint is its own: the others do not wait for it
            training.checkpoint()

    row = training.run_epoch(ended, Examples(wanted, val, watching).show)
    return {"losses": losses, "shown": watching.shown, "replicas": training.replicas, **row}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
