"""The devices that training runs on, and the engine (Keras' backend) that runs it there.

TensorFlow is known here, to shards.py, which reads with it, and to normalisation.py: network, loss,
metrics and loop are Keras alone and run on its other engines too (KERAS_BACKEND=jax).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from pipeline.errors import CrashedError, StageError
from pipeline.model.shards import Shards
from pipeline.params import TrainParams

log = logging.getLogger(__name__)

BFLOAT16_CAPABILITY = (8, 0)
"""CUDA compute capability from which a GPU has bfloat16 (Ampere)."""

SHARD_FAULTS = (
    tf.errors.DataLossError,  # a checksum
    tf.errors.InvalidArgumentError,  # another image size
    tf.errors.FailedPreconditionError,  # another number of records
)


class Devices:
    """The devices of one training, seeded and set up before anything touches them.

    Raises StageError when TF_CONFIG names several hosts.
    """

    def __init__(self, params: TrainParams) -> None:
        self._strategy = _strategy() if keras.backend.backend() == "tensorflow" else None
        if params.deterministic and self._strategy:
            tf.config.experimental.enable_op_determinism()
        keras.backend.clear_session()  # layers without a name of their own count from one again
        keras.utils.set_random_seed(params.seed)
        log.info("training on %s with %s", ", ".join(_local_devices()), keras.backend.backend())

    @property
    def replicas(self) -> int:
        """Copies of the network that share a batch among them."""
        return self._strategy.num_replicas_in_sync if self._strategy else 1

    def scope(self) -> AbstractContextManager[Any]:
        """Within, variables are made and assigned on every device."""
        scope: AbstractContextManager[Any] = (
            self._strategy.scope() if self._strategy else nullcontext()
        )
        return scope


def compute_policy(precision: Literal["float32", "mixed"]) -> str:
    """Keras' dtype policy: `mixed` computes in bfloat16, on older GPUs in float16.

    Weights are float32 in each (Micikevicius et al., "Mixed Precision Training", ICLR 2018).
    """
    if precision == "float32":
        return "float32"
    capabilities = [detail.get("compute_capability", (0, 0)) for detail in _gpu_details()]
    old = any(capability < BFLOAT16_CAPABILITY for capability in capabilities)
    return "mixed_float16" if old else "mixed_bfloat16"


@dataclass(frozen=True)
class TrainingEnvironment:
    """What shapes a result besides inputs, code and parameters: libraries and kind of device."""

    keras: str
    tensorflow: str
    """Both versions."""
    engine: str
    devices: list[str]
    """Names of the GPUs; none for a CPU."""
    replicas: int
    """Copies of the network that share a batch among them."""


def training_environment() -> TrainingEnvironment:
    """The environment of this process."""
    return TrainingEnvironment(
        keras=keras.__version__,
        tensorflow=tf.__version__,
        engine=keras.backend.backend(),
        devices=[str(detail.get("device_name", "GPU")) for detail in _gpu_details()],
        replicas=len(_local_devices()),
    )


def _strategy() -> Any:
    """Every device of this machine; they share each batch."""
    if tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict():
        raise StageError(
            "train: TF_CONFIG asks for a training over several hosts, which Keras 3 cannot do "
            "(github.com/keras-team/keras/issues/20585); unset it, all GPUs of one host are used"
        )
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    names = _local_devices()
    return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()


def _local_devices() -> list[str]:
    """The GPUs, or without any the CPU (several when it was divided into virtual ones)."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def _gpu_details() -> list[Any]:
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu) for gpu in gpus]


@contextmanager
def translated_errors(shards: Shards) -> Iterator[None]:
    """Say in the project's words what TensorFlow raises for damaged shards and full memory.

    Those are StageError and CrashedError.
    """
    try:
        yield
    except SHARD_FAULTS as error:
        raise StageError(
            f"{shards.paths[0].parent}: a shard is damaged or of another size "
            f"({_reason(error)}); run the stage augment again",
        ) from None
    except tf.errors.ResourceExhaustedError as error:
        raise CrashedError(
            f"train: the device is out of memory ({_reason(error)}); free it, or lower "
            "train.batch_size or augment.image_size; the same settings resume after the last epoch",
        ) from None


def _reason(error: tf.errors.OpError) -> str:
    """The last line of TensorFlow's message, between the traces of its graph."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    return [line for line in lines if line and not line.startswith("[[")][-1][:300]
