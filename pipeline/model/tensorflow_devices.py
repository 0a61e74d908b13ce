"""TensorFlow's devices: all GPUs of a host share each batch (MirroredStrategy)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import tensorflow as tf

from pipeline.errors import StageError
from pipeline.model.devices import Devices, Gpu
from pipeline.params import TrainParams


class TensorFlowDevices(Devices):
    """The devices of one training; raises StageError when TF_CONFIG names several hosts."""

    synchronized = True

    def __init__(self, params: TrainParams) -> None:
        if tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict():
            raise StageError(
                "train: TF_CONFIG asks for a training over several hosts, which Keras 3 cannot do "
                "on TensorFlow (github.com/keras-team/keras/issues/20585); unset it, all GPUs of "
                "one host are used, or set train.engine to jax"
            )
        names = self.names()
        several = len(names) > 1
        self._strategy = (
            tf.distribute.MirroredStrategy(names) if several else tf.distribute.get_strategy()
        )
        if params.deterministic:
            tf.config.experimental.enable_op_determinism()
        super().__init__(params)

    def scope(self) -> AbstractContextManager[Any]:
        """Within, variables are made and assigned on every device."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    @staticmethod
    @contextmanager
    def exact() -> Iterator[None]:
        """Within, float32 is computed in float32."""
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)

    @staticmethod
    def version() -> str:
        """TensorFlow's version."""
        return str(tf.__version__)

    @staticmethod
    def names() -> list[str]:
        """The GPUs, or without any the CPUs."""
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [device.name for device in found]

    @staticmethod
    def gpus() -> list[Gpu]:
        """The cards of this host."""
        found = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
        return [
            Gpu(str(one.get("device_name", "GPU")), one.get("compute_capability", (0, 0)))
            for one in details
        ]

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What TensorFlow raises."""
        return (tf.errors.OpError,)

    @staticmethod
    def full_memory(error: Exception) -> str | None:
        """The last line of an error that is about memory, between the traces of its graph."""
        if not isinstance(error, tf.errors.ResourceExhaustedError):
            return None
        lines = [line.strip() for line in str(error.message).splitlines()]
        return [line for line in lines if line and not line.startswith("[[")][-1][:300]
