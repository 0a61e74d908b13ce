from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model.record_order import (
    LARGEST_SEED,
    interleaved,
    random_numbers,
    shuffled,
    tf_seeds,
)
from pipeline.model.shards import write_shard

DEFAULT_GLOBAL = 87654321
"""TensorFlow's, when nobody set one."""


def runs(counts: list[int]) -> list[range]:
    """Numbers from 0 on, so many in each."""
    ends = np.cumsum([0, *counts]).tolist()
    return [range(*pair) for pair in pairwise(ends)]


def order(counts: list[int], room: int, given: int | None, seed: int | None) -> list[int]:
    sources: Any = runs(counts)
    if seed is None:
        return list(interleaved(sources, 4))
    seeds = tf_seeds(DEFAULT_GLOBAL if given is None else given, seed)
    return list(shuffled(interleaved(shuffled(sources, len(counts), seeds), 4), room, seeds))


def order_of_tensorflow(
    folder: Path, counts: list[int], room: int, given: int | None, seed: int | None
) -> list[int]:
    import keras
    import tensorflow as tf

    paths = [folder / f"{i:03d}" for i in range(len(counts))]
    for path, numbers in zip(paths, runs(counts), strict=True):
        write_shard(path, (str(number).encode() for number in numbers))
    tf.random.set_seed(None)
    if given is not None:
        keras.utils.set_random_seed(given)
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    if seed is not None:
        files = files.shuffle(len(paths), seed=seed, reshuffle_each_iteration=False)
    records = files.interleave(
        tf.data.TFRecordDataset, cycle_length=4, num_parallel_calls=4, deterministic=True
    )
    if seed is not None:
        records = records.shuffle(room, seed=seed, reshuffle_each_iteration=False)
    return [int(record) for record in records.as_numpy_iterator()]


def cases() -> Iterator[tuple[list[int], int, int | None, int | None]]:
    random = np.random.default_rng(1)
    for number in range(24):
        counts = random.integers(1, 30, random.integers(1, 12)).tolist()
        seed = [0, 1, LARGEST_SEED, int(random.integers(2**31))][number % 4]
        given = [None, seed, 0, 5, LARGEST_SEED][number % 5]
        # Smaller than the data, as large, and larger.
        room = [1, int(random.integers(1, sum(counts))), sum(counts), 1000][number % 3]
        yield counts, room, given, seed if number % 8 else None
    yield [3000, 2500], 4500, 7, 7  # more numbers than are made at once


@pytest.mark.slow
def test_the_order_is_that_of_tf_data(tmp_path: Path) -> None:
    for number, case in enumerate(cases()):
        folder = tmp_path / str(number)
        folder.mkdir()

        assert order(*case) == order_of_tensorflow(folder, *case), case


def test_the_order_of_a_seed_never_changes() -> None:
    found = order([5, 1, 3, 2, 4, 2], 6, 7, 7)

    assert sorted(found) == list(range(17))
    assert found == [12, 6, 9, 10, 7, 16, 15, 0, 14, 13, 2, 8, 3, 11, 5, 4, 1]


def test_a_place_that_is_free_is_filled_a_turn_later() -> None:
    found = interleaved(["ab", "c", "defg", "hi", "jkl"], 4)

    assert "".join(found) == "acdhbeijfkgl"


def test_numbers_are_those_of_philox() -> None:
    numbers = random_numbers((0, 0))

    # Known answers of the authors' library for key 0 and counter 0.
    assert [next(numbers) for _ in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("room", [1, 7, 50])
def test_every_item_comes_once_and_no_earlier_than_the_buffer_allows(room: int) -> None:
    found = list(shuffled(range(50), room, (3, 4)))

    assert sorted(found) == list(range(50))
    assert all(item < place + room for place, item in enumerate(found))


def test_nothing_in_random_order_is_nothing() -> None:
    assert list(shuffled([], 3, (3, 4))) == list(interleaved([], 4)) == []
