"""Several processes, on one host or on several, that train one network together on JAX.

Each runs the same command on the same revision and shards, with Keras' own variables:

    KERAS_DISTRIBUTION_JOB_ADDRESSES  host:port of the first process, which listens there
    KERAS_DISTRIBUTION_NUM_PROCESSES  how many they are
    KERAS_DISTRIBUTION_PROCESS_ID     which one this is, from 0

The first alone keeps checkpoints and writes; it tells the others where the training resumes.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.errors import CrashedError, StageError
from pipeline.model.checkpoint import Checkpoint, Checkpoints
from pipeline.model.engine import engine_devices
from pipeline.model.observers import TrainingObserver
from pipeline.params import TrainParams

VARIABLES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


def join_processes(params: TrainParams) -> None:
    """Meet the other processes of this training, if the environment names any; waits for them.

    Raises StageError where the variables are incomplete or the engine is not JAX, CrashedError
    when the others do not come.
    """
    given = [os.environ.get(name, "") for name in VARIABLES]
    if not any(given):
        return
    address, count, number = given
    if not (address and count.isdigit() and number.isdigit() and int(number) < int(count)):
        found = ", ".join(f"{name}={value}" for name, value in zip(VARIABLES, given, strict=True))
        raise StageError(
            f"found {found}; expected host:port of the first process, how many processes there are "
            "and which of them this is, from 0; set all three or none"
        )
    if params.engine != "jax":
        raise StageError(
            f"train.engine: found {params.engine}, expected jax, on which alone several processes "
            f"train together; set it, or unset {', '.join(VARIABLES)}"
        )
    engine_devices().seed(params.seed)  # else Keras draws one of its own for all
    try:
        keras.distribution.initialize()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CrashedError(
            f"train: the processes did not meet at {address} ({reason}); start all {count} of "
            "them, and let them reach that address"
        ) from None


def leave_processes() -> None:
    """Let the others go, once all have trained; the first one has more to do, for longer."""
    if process_count() > 1:
        import jax

        jax.distributed.shutdown()


def process_count() -> int:
    """How many processes train together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def process_number() -> int:
    """Which of them this is, from 0."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return int(jax.process_index())


def check_same_training(key: str) -> None:
    """Raise StageError, in all processes, unless all of them have this key."""
    if process_count() == 1:
        return
    from jax.experimental import multihost_utils

    keys: Any = multihost_utils.process_allgather(np.frombuffer(key.encode(), np.uint8))
    others = [i for i, one in enumerate(keys) if bytes(one) != bytes(keys[0])]
    if others:
        raise StageError(
            f"train: found another training in process {', '.join(map(str, others))} than in "
            "process 0, expected the same code, parameters, shards, libraries and kind of GPUs; "
            "start all of them with one revision and one artifacts/augment"
        )


def tell_checkpoints(checkpoints: Checkpoints) -> None:
    """Tell the other processes, if there are any, where the training of the first one resumes."""
    if process_count() == 1:
        return
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(content, "w") as archive:
        last = checkpoints.latest()
        if last:
            Checkpoints(Path(folder)).save(last)
        for path in Path(folder).rglob("*"):
            archive.write(path, path.relative_to(folder))
    _tell(content.getvalue())


@contextmanager
def told_checkpoints() -> Iterator[Checkpoints]:
    """Those that the first process tells; what is saved there is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(_tell(b""))) as archive:
            archive.extractall(folder)
        yield _ToldCheckpoints(Path(folder))


class _ToldCheckpoints(Checkpoints):
    due = False

    def save(self, checkpoint: Checkpoint) -> None:
        """Leave it to the first process."""


def _tell(content: bytes) -> bytes:
    """The bytes of the first process, in all of them; all of them call it."""
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.array(len(content), np.int32)))
    own = np.frombuffer(content.ljust(length, b"\0")[:length], np.uint8)
    told: Any = multihost_utils.broadcast_one_to_all(own)
    return bytes(np.asarray(told))


def looking_on(observer: TrainingObserver | None) -> TrainingObserver | None:
    """`observer`, or where several processes train somebody in each of them who sees the same.

    What one of them computes to be seen, such as its answers, all must compute.
    """
    return observer or (_Bystander() if process_count() > 1 else None)


class _Bystander:
    def log_epoch(self, row: Any) -> None:
        """Leave it to the first process."""

    def log_progress(self, text: str, step: int, values: Any) -> None:
        """Leave it to the first process."""

    def log_examples(self, epoch: int, images: Any, masks: Any, lungs: Any) -> None:
        """Leave it to the first process."""
