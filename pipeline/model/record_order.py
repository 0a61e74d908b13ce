"""The order in which training reads the records of shards: that of TensorFlow's tf.data.

It follows from a seed alone: the shards are shuffled, so many of them are open at once and give a
record in turn, and each record waits in a buffer from which one is drawn at random. The numbers
and steps are those of tf.data's `shuffle` and deterministic `interleave` (TensorFlow,
tensorflow/core/kernels/data), so that the order did not change when tf.data was left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Seeds = tuple[int, int]
"""Of tf.data: the global seed and that of the operation."""

BLOCKS = 1024
"""Of four numbers that are made at once."""

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
LARGEST_SEED = 2**31 - 1


def tf_seeds(seed: int, operation: int) -> Seeds:
    """The two seeds that TensorFlow's generator gets for a global seed and an operation's."""
    seeds = seed % LARGEST_SEED, operation % LARGEST_SEED
    return seeds if any(seeds) else (0, LARGEST_SEED)


def shuffled(items: Iterable[Item], room: int, seeds: Seeds) -> Iterator[Item]:
    """The items, each drawn at random from `room` of them that wait."""
    waiting: list[Any] = []
    first = 0  # where those that wait begin, in a ring
    numbers = random_numbers(seeds)
    coming = iter(items)
    for item in coming:
        waiting.append(item)
        if len(waiting) == room:
            break
    count = len(waiting)
    while count:
        drawn = (first + next(numbers) % count) % len(waiting)
        yield waiting[drawn]
        waiting[drawn] = waiting[first]
        try:
            waiting[first] = next(coming)
        except StopIteration:
            count -= 1
        first = (first + 1) % len(waiting)


def interleaved(sources: Iterable[Iterable[Item]], at_once: int) -> Iterator[Item]:
    """One item of each open source in turn; the place of one that ended is filled a turn later."""
    places: list[Iterator[Item] | None] = [None] * at_once
    waiting = map(iter, sources)
    more = True
    while more or any(places):
        for place, source in enumerate(places):
            if source is None and more:
                source = next(waiting, None)
                more = source is not None
            try:
                if source is not None:
                    yield next(source)
            except StopIteration:
                source = None
            places[place] = source


def random_numbers(seeds: Seeds) -> Iterator[int]:
    """Endless numbers below 2^32."""
    done = 0
    while True:
        yield from philox(seeds, done, BLOCKS).tolist()
        done += BLOCKS


def philox(seeds: Seeds, first: int, blocks: int) -> NDArray[np.uint64]:
    """Numbers below 2^32, four of each block of the counter from `first` on.

    Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed
    by the first seed, the second in the counter's upper half.
    """
    low, high = seeds
    counters = np.arange(first, first + blocks, dtype=np.uint64)
    a, b = counters & LOW, counters >> HALF
    c, d = np.full_like(a, high & 0xFFFFFFFF), np.full_like(a, high >> 32)
    keys = [low & 0xFFFFFFFF, low >> 32]
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b = (right >> HALF) ^ b ^ np.uint64(keys[0]), right & LOW
        c, d = (left >> HALF) ^ d ^ np.uint64(keys[1]), left & LOW
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, KEY_STEPS, strict=True)]
    return np.stack([a, b, c, d], axis=1).ravel()
