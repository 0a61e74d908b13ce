"""Batches of training images read from shards, without TensorFlow and the same for every engine.

The order of the records is decided first, from the headers of the shards alone; so a batch can be
read, and skipped, on its own. Batches are made ahead, several at once, and given in their order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice, starmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CrashedError
from pipeline.model.batch_making import BatchMaker, MadeBatch, WantedRecord, drawing_processes
from pipeline.model.record_order import interleaved, shuffled, tf_seeds
from pipeline.model.records import RecordPlace, damaged_shard, record_places
from pipeline.model.shards import Shards, record_size
from pipeline.radiograph.grey import Grey

Inputs = Any
"""Images uint8 (N, S, S, 1), 0..255; where there are several conventions a tuple of them and of
`told`, float32 (N, C), one-hot."""
Shares = NDArray[np.float32]
"""The share of lung in each pixel, (N, S, S, 1), 0..1."""
Batch = tuple[Inputs, Shares]

SHUFFLE_BYTES = 64 * 2**20
"""Of records among which the next is drawn; shards and their records are already in random order,
so this has only to spread the copies of a pair, which share a shard."""

PARALLEL_READS = 4
"""Shards that are read at once, their records taken in turn."""

KEPT = 2
"""Batches that are given again without being made again."""

READERS = 2
"""Threads that make batches of what is only to be read."""


def read_batches(
    shards: Shards,
    batch_size: int,
    order: int | None = None,
    skip: int = 0,
    epoch: int = 1,
) -> Batches:
    """Batches of all records of `shards`, without the first `skip`.

    With an `order`, a seed, for training, they are in the random order of that seed, and of full
    size: a last batch of one or two radiographs would spoil the normalisation's means. The rest
    takes part in another epoch, which has another seed. `epoch`, from 1, numbers the copies that
    are drawn anew.
    """
    return Batches(shards, batch_size, order, skip, epoch)


class Batches:
    """An iterable of batches; every iteration gives the same.

    An iteration raises StageError when the shards are damaged or not those that were announced,
    CrashedError when a process that draws copies died.
    """

    def __init__(
        self, shards: Shards, batch_size: int, order: int | None, skip: int, epoch: int
    ) -> None:
        self._shards, self._order, self._epoch = shards, order, epoch
        self._batch_size, self._skip = batch_size, skip
        self._maker = BatchMaker(shards.image_size, len(shards.conventions), shards.fresh)

    def __len__(self) -> int:
        """Batches of an iteration, those that are left out not counted."""
        records, size = self._shards.records, self._batch_size
        full = self._order is not None and records >= size
        return max(0, (records // size if full else -(-records // size)) - self._skip)

    def __iter__(self) -> Iterator[Batch]:
        with self.reading() as found:
            for number in range(len(self)):
                yield found[number]

    @contextmanager
    def reading(self) -> Iterator[BatchReading]:
        """The batches by number, for an engine that asks for them from a thread of its own.

        When that fails within, what is raised is the error of the reading and not what the engine
        made of it. At the end nothing is read any more, whether all was or not.
        """
        executor, ahead = _executor(self._shards)
        found = BatchReading(lambda first: self._read(executor, ahead, first), len(self))
        try:
            yield found
        except Exception:
            if found.failure:
                raise found.failure from None
            raise
        finally:
            executor.shutdown(cancel_futures=True)

    def _read(self, executor: Executor, ahead: int, first: int) -> Generator[Batch, None, None]:
        made: deque[Future[MadeBatch]] = deque()
        try:
            for wanted in self._wanted_batches(first):
                made.append(executor.submit(self._maker, wanted))
                if len(made) > ahead:
                    yield self._batch(made.popleft().result())
            while made:
                yield self._batch(made.popleft().result())
        finally:
            for future in made:
                future.cancel()

    def _batch(self, made: MadeBatch) -> Batch:
        inputs: Inputs = made.images
        if len(self._shards.conventions) > 1:
            inputs = made.images, np.eye(len(self._shards.conventions), dtype=np.float32)[made.told]
        shares = made.masks.astype(np.float32)
        shares /= np.float32(255)
        return inputs, shares

    def _wanted_batches(self, first: int) -> Iterator[list[WantedRecord]]:
        records = self._wanted_records()
        deque(islice(records, (self._skip + first) * self._batch_size), maxlen=0)
        for _ in range(first, len(self)):
            yield list(islice(records, self._batch_size))
        deque(records, maxlen=0)  # are there more than were announced?

    def _wanted_records(self) -> Iterator[WantedRecord]:
        """Of each pass over the shards one version of each record: the original or a copy."""
        passes, copies = self._shards.passes, self._shards.passes - 1
        for number in range(passes):
            for place in self._in_order(number):
                version = (number + place.shard + place.number) % passes
                yield WantedRecord(place, version and (self._epoch - 1) * copies + version)

    def _in_order(self, number: int) -> Iterator[RecordPlace]:
        """The places of all records, in the order of one of the passes over the shards."""
        shards = self._shards
        if self._order is None:
            return self._counted(enumerate(shards.paths))
        seeds = tf_seeds(self._order + number, self._order)
        room = max(1, SHUFFLE_BYTES // record_size(shards.image_size))
        paths = shuffled(enumerate(shards.paths), len(shards.paths), seeds)
        return shuffled(self._counted(paths), room, seeds)

    def _counted(self, paths: Iterable[tuple[int, Path]]) -> Iterator[RecordPlace]:
        """The places of all records; raises StageError when there are more or fewer than said."""
        expected = self._shards.records // self._shards.passes
        places = interleaved(starmap(record_places, paths), PARALLEL_READS)
        count = 0
        for count, place in enumerate(places, 1):
            if count <= expected:
                yield place
        if count != expected:
            raise damaged_shard(
                self._shards.paths[0], f"found {count} records in all shards, expected {expected}"
            )


class BatchReading:
    """Batches by number; the one after the last is ready soonest, another begins anew there."""

    def __init__(self, begin: Callable[[int], Generator[Batch, None, None]], count: int) -> None:
        self.failure: Exception | None = None
        """The first error of the reading."""
        self._begin, self._count = begin, count
        self._next = 0
        self._coming = begin(0)
        # Keras looks at the first batches before it asks for them.
        self._last: deque[tuple[int, Batch]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`; raises what reading it raises, StageError or CrashedError."""
        with self._lock:
            try:
                return dict(self._last).get(number) or self._read(number)
            except Exception as error:
                self.failure = self.failure or _translated(error)
                raise self.failure from None

    def _read(self, number: int) -> Batch:
        if number != self._next:
            self._coming.close()
            self._coming = self._begin(number)
        batch = next(self._coming)
        self._next = number + 1
        self._last.append((number, batch))
        return batch


def read_first(shards: Shards, count: int) -> tuple[Grey, NDArray[np.float32], Grey]:
    """The first radiographs, what the network is told of each, and their masks; at most `count`.

    Images are uint8 (N, S, S), 0..255, masks the same, 0/1. What is told is float32
    (N, C), one-hot, also of a single convention.
    """
    inputs, shares = next(iter(read_batches(shards, count)))
    images, told = inputs if len(shards.conventions) > 1 else (inputs, np.ones((len(inputs), 1)))
    return images[..., 0], np.asarray(told, np.float32), (shares >= 0.5).astype(np.uint8)[..., 0]


def _executor(shards: Shards) -> tuple[Executor, int]:
    """What makes batches, and how many are made ahead."""
    if shards.fresh:
        processes, count = drawing_processes(shards.fresh)
        return processes, 2 * count
    return ThreadPoolExecutor(READERS), 2 * READERS


def _translated(error: Exception) -> Exception:
    if isinstance(error, BrokenProcessPool):
        return CrashedError(
            "train: a process that draws copies was killed, perhaps for want of memory; lower "
            "augment.workers or try again, the same settings resume at the last checkpoint",
        )
    return error
