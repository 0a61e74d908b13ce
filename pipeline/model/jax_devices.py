"""JAX's devices: all GPUs of all processes share each batch (keras.distribution.DataParallel)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import keras

from pipeline.model.batches import Batch
from pipeline.model.devices import Devices, Gpu
from pipeline.params import TrainParams


class JaxDevices(Devices):
    """The devices of one training, those of other processes included."""

    def __init__(self, params: TrainParams) -> None:
        super().__init__(params)  # clears Keras' session, of which the distribution is a part
        names = self.names()
        # Where there is one, Keras would only do more to each batch.
        self._shared = _Shared(devices=names, auto_shard_dataset=False) if len(names) > 1 else None
        keras.distribution.set_distribution(self._shared)

    @property
    def replicas(self) -> int:
        """Copies of the network that share a batch among them."""
        distribution = keras.distribution.distribution()
        return int(distribution.num_model_replicas) if distribution else 1

    @staticmethod
    def seed(seed: int) -> None:
        """Seed Python, NumPy and Keras.

        Keras would load TensorFlow, where it is installed, only to seed it too. It looks once
        whether there is one; an entry None says that there is none.
        """
        loaded = "tensorflow" in sys.modules
        sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
        try:
            keras.utils.set_random_seed(seed)
        finally:
            if not loaded:
                del sys.modules["tensorflow"]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, variables are made on one device, as if there were no other process either."""
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._shared)

    @staticmethod
    def exact() -> AbstractContextManager[Any]:
        """Within, float32 is computed in float32."""
        context: AbstractContextManager[Any] = jax.default_matmul_precision("highest")
        return context

    @property
    def step(self) -> int:
        """Each device has equally many radiographs of a training step."""
        return self.replicas

    @staticmethod
    def part_from_optimizer(variables: Iterable[Any]) -> None:
        """Give weights that were just averaged memory of their own, not the optimizer's.

        Keras assigns the average without a copy, and then gives its memory away in `evaluate`.
        """
        for variable in variables:
            variable.assign(keras.ops.convert_to_numpy(variable))

    def share(self, batch: Batch) -> Batch:
        """This process' rows of a batch: they are dealt in the order of the processes."""
        return batch if self._shared is None or self._shared.whole else _part(batch)

    @contextmanager
    def validation(self, records: int) -> Iterator[None]:
        """Within, so many radiographs are validated.

        Where the devices cannot share the last batch, each of them computes all batches.
        """
        if self._shared:
            self._shared.whole = records % self.replicas > 0
        try:
            yield
        finally:
            if self._shared:
                self._shared.whole = False

    @staticmethod
    def version() -> str:
        """JAX's version."""
        return str(jax.__version__)

    @staticmethod
    def names() -> list[str]:
        """The GPUs of all processes, or without any the CPUs."""
        return [str(name) for name in keras.distribution.list_devices()]

    @staticmethod
    def gpus() -> list[Gpu]:
        """The cards of this host."""
        found = [device for device in jax.local_devices() if device.platform == "gpu"]
        return [
            Gpu(device.device_kind, tuple(map(int, device.compute_capability.split("."))))
            for device in found
        ]

    @staticmethod
    def errors() -> tuple[type[Exception], ...]:
        """What JAX raises while it computes."""
        return (jax.errors.JaxRuntimeError,)

    @staticmethod
    def full_memory(error: Exception) -> str | None:
        """The first line of an error that is about memory."""
        line = str(error).strip().partition("\n")[0][:300]
        return line if line.startswith("RESOURCE_EXHAUSTED") else None


def _part(batch: Batch) -> Batch:
    """The rows of the batch that are this process'."""
    size = len(batch[-1]) // jax.process_count()
    first = size * jax.process_index()
    part: Batch = keras.tree.map_structure(lambda array: array[first : first + size], batch)
    return part


class _Shared(keras.distribution.DataParallel):  # type: ignore[misc]  # untyped to mypy
    """Every device has the network, and a part of each batch or all of it."""

    whole = False
    """Whether each device gets all of a batch."""

    def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
        shared = super().get_data_layout(data_shape)
        if not self.whole:
            return shared
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
