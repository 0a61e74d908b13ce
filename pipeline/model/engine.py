"""The engine that trains (Keras' backend): its choice, its devices, its faults.

Keras reads KERAS_BACKEND once, when it is imported, so nothing here imports it before it is needed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

from pipeline.errors import CrashedError, StageError
from pipeline.params import TrainParams

if TYPE_CHECKING:
    from pipeline.model.devices import Devices

log = logging.getLogger(__name__)

EXTRAS = {"tensorflow": "train", "jax": "jax"}
"""Engine -> the extra of this project that brings it."""
GPU_EXTRAS = {"tensorflow": "gpu", "jax": "gpu-jax"}
"""The same for GPUs."""

DRAWING = ("albumentations", "numpy", "opencv-python-headless")
"""Packages that decide what a drawn copy looks like."""

BFLOAT16_CAPABILITY = (8, 0)
"""CUDA compute capability from which a GPU has bfloat16 (Ampere)."""

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""The flag of XLA by which a GPU gives the same bytes again; a CPU does without it."""

CACHE_BYTES = 2 * 2**30
"""Of compiled steps that are kept; what was not used for longest goes first."""
UNLIMITED = "-1"
"""That many bytes are kept whatever there are, and JAX writes no times of them."""


def choose_engine(params: TrainParams, home: Path) -> None:
    """Let Keras compute with `params.engine` in this process, whatever the shell exports.

    JAX keeps its compiled steps below `home`. Raises StageError when the engine is not installed,
    or Keras has been imported with another one.
    """
    engine = params.engine
    if "keras" in sys.modules:
        _check_loaded(engine)
    elif find_spec(engine) is None:
        raise StageError(
            f"train.engine: found no package {engine}; install it "
            f"(`make setup EXTRA={EXTRAS[engine]}`), or set train.engine to another one"
        )
    exported = os.environ.get("KERAS_BACKEND", engine)
    if exported != engine:
        log.warning(
            "KERAS_BACKEND=%s does not count: train.engine is %s, set that one", exported, engine
        )
    os.environ["KERAS_BACKEND"] = engine
    # By default both take (most of) a card at once, whether they need it or not.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if engine == "jax":
        _set_up_jax(params, home)


def _check_loaded(engine: str) -> None:
    import keras

    if keras.backend.backend() != engine:
        raise StageError(
            f"train.engine: found Keras on {keras.backend.backend()} in this process, expected "
            f"{engine}; run the stage in a process of its own (`lungseg stage train`)"
        )


def _set_up_jax(params: TrainParams, home: Path) -> None:
    flags = os.environ.get("XLA_FLAGS", "").split()
    if params.deterministic and DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC])
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # another folder is somebody else's
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(home / "jax")
        limit = os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_BYTES))
        if limit != UNLIMITED:
            _drop_torn_steps(home / "jax")


def _drop_torn_steps(cache: Path) -> None:
    """Remove compiled steps whose writer was killed before it wrote their time.

    Beside one of them JAX keeps no new step, and it may be half of one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lockfile"):  # that JAX writes under
        for step in cache.glob("*-cache"):
            if not step.with_name(step.name.removesuffix("-cache") + "-atime").exists():
                step.unlink()


def engine_devices() -> type[Devices]:
    """The kind of devices of the engine that Keras computes with."""
    import keras

    if keras.backend.backend() == "jax":
        from pipeline.model.jax_devices import JaxDevices

        return JaxDevices
    from pipeline.model.tensorflow_devices import TensorFlowDevices

    return TensorFlowDevices


def compute_policy(precision: Literal["float32", "mixed"]) -> str:
    """Keras' dtype policy: `mixed` computes in bfloat16, on older GPUs in float16.

    Weights are float32 in each (Micikevicius et al., "Mixed Precision Training", ICLR 2018); in
    float16 Keras scales the loss.
    """
    if precision == "float32":
        return "float32"
    old = any(gpu.capability < BFLOAT16_CAPABILITY for gpu in engine_devices().gpus())
    return "mixed_float16" if old else "mixed_bfloat16"


@dataclass(frozen=True)
class TrainingEnvironment:
    """What shapes a result besides inputs, code and parameters: libraries and kind of device."""

    keras: str
    """Its version."""
    engine: str
    engine_version: str
    devices: list[str]
    """Names of the GPUs; none for a CPU."""
    replicas: int
    """Copies of the network that share a batch among them."""
    drawing: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that draw copies, where training does."""


def training_environment(*, drawing: bool = False) -> TrainingEnvironment:
    """The environment of this process, which draws copies or does not."""
    import keras

    devices = engine_devices()
    return TrainingEnvironment(
        keras=keras.__version__,
        engine=keras.backend.backend(),
        engine_version=devices.version(),
        devices=[gpu.name for gpu in devices.gpus()],
        replicas=len(devices.names()),
        drawing={name: version(name) for name in DRAWING} if drawing else {},
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Say in the project's words what the engine raises for full memory: CrashedError."""
    devices = engine_devices()
    try:
        yield
    except devices.errors() as error:
        reason = devices.full_memory(error)
        if reason is None:
            raise
        raise CrashedError(
            f"train: the device is out of memory ({reason}); free it, or lower "
            "train.batch_size or augment.image_size; the same settings resume where it was",
        ) from None
