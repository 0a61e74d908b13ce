"""What training asks of its devices, whichever engine computes on them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from pipeline.errors import StageError
from pipeline.model.batches import Batch
from pipeline.params import TrainParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """A graphics card."""

    name: str
    capability: tuple[int, ...]
    """CUDA compute capability, such as (8, 0)."""


class Devices(ABC):
    """The devices of one training, seeded and set up before anything touches them."""

    synchronized = False
    """Whether a normalisation must be told to take its means over the whole batch."""

    def __init__(self, params: TrainParams) -> None:
        keras.backend.clear_session()  # layers without a name of their own count from one again
        self.seed(params.seed)
        engine = keras.backend.backend()
        log.info("training on %s with %s", ", ".join(self.names()), engine)

    @staticmethod
    def seed(seed: int) -> None:
        """Seed Python, NumPy, Keras and the engine."""
        keras.utils.set_random_seed(seed)

    @property
    def replicas(self) -> int:
        """Copies of the network that share a batch among them."""
        return len(self.names())

    def scope(self) -> AbstractContextManager[Any]:
        """Within, variables are made and assigned on every device."""
        return nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        """Within, variables are made on one device, as if there were no other."""
        return nullcontext()

    @staticmethod
    def exact() -> AbstractContextManager[Any]:
        """Within, float32 is computed in float32: GPUs round it to TF32 (10 bits) by default."""
        return nullcontext()

    @property
    def step(self) -> int:
        """What the radiographs of a training step must be a multiple of."""
        return 1

    def check_batch(self, size: int) -> None:
        """Raise StageError when the devices cannot share batches of `size` radiographs."""
        if size % self.step:
            raise StageError(
                f"train.batch_size: found steps of {size} radiographs, expected a multiple of the "
                f"{self.step} devices that share them; set it so, or let the training see fewer "
                "devices (CUDA_VISIBLE_DEVICES)"
            )

    @staticmethod
    def part_from_optimizer(variables: Iterable[Any]) -> None:
        """Give weights that were just averaged memory of their own, not the optimizer's."""
        del variables  # they have it

    def share(self, batch: Batch) -> Batch:
        """This process' part of a batch."""
        return batch

    def validation(self, records: int) -> AbstractContextManager[Any]:
        """Within, so many radiographs are validated."""
        return nullcontext()

    @staticmethod
    @abstractmethod
    def version() -> str:
        """The engine's version."""

    @staticmethod
    @abstractmethod
    def names() -> list[str]:
        """The GPUs, or without any the CPU (several when it was divided into virtual ones)."""

    @staticmethod
    @abstractmethod
    def gpus() -> list[Gpu]:
        """The cards of this host."""

    @staticmethod
    @abstractmethod
    def errors() -> tuple[type[Exception], ...]:
        """What the engine raises."""

    @staticmethod
    @abstractmethod
    def full_memory(error: Exception) -> str | None:
        """The reason, in one line, of one of `errors` that is about memory; else None."""
