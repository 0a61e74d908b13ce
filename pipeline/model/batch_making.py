"""A batch made of the records that it is to hold, some of them as copies that are drawn for it.

In a thread when they are only read; in processes of their own when copies are drawn, which is
Python's own work for the most part, so that threads would wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.augmentation.copies import Copier, Copy, Original
from pipeline.model.records import Record, RecordPlace, read_record
from pipeline.params import AugmentParams
from pipeline.radiograph.grey import Grey
from pipeline.worker_pool import open_workers, usable_cores

MOST_DRAWS = 200
"""Until a copy is given up: ten times as many as where the transforms are tried, in the stage
augment, so that no training ends after hours by a radiograph that was lucky there."""


class WantedRecord(NamedTuple):
    """A record of a batch."""

    place: RecordPlace
    copy: int
    """The number of the copy that is drawn of it; 0: itself."""


class MadeBatch(NamedTuple):
    """What a batch holds."""

    images: Grey  # (N, S, S, 1), 0..255
    masks: Grey  # (N, S, S, 1), share of lung, 0..255
    told: NDArray[np.uint8]  # (N,), the place of each mask's convention among those of the shards


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches; may be sent to another process."""

    image_size: int
    conventions: int
    """How many there are."""
    fresh: AugmentParams | None
    """How copies are drawn."""

    def __call__(self, wanted: Sequence[WantedRecord]) -> MadeBatch:
        """A batch of just these records; raises StageError when one is damaged."""
        shape = len(wanted), self.image_size, self.image_size, 1
        batch = MadeBatch(
            np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(len(wanted), np.uint8)
        )
        copier = _copier(self.fresh.model_dump_json()) if self.fresh else None
        for i, (place, copy) in enumerate(wanted):
            record = read_record(place, self.image_size, self.conventions)
            drawn = _copy(record, copy, copier) if copier and copy else record
            batch.images[i, ..., 0], batch.masks[i, ..., 0] = drawn.image, drawn.mask
            batch.told[i] = record.convention
        return batch


def _copy(record: Record, number: int, copier: Copier) -> Copy:
    return copier.draw(Original.of(record.image_id, record.image, record.mask), number)


@cache
def _copier(params: str) -> Copier:
    """One for this process; making it takes longer than drawing."""
    return Copier(AugmentParams.model_validate_json(params), most_draws=MOST_DRAWS)


def drawing_processes(params: AugmentParams) -> tuple[ProcessPoolExecutor, int]:
    """Processes that make batches, and how many."""
    count = params.workers or usable_cores()
    return open_workers(count, ["albumentations", __name__]), count
