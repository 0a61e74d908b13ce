from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.shards import (
    encode_record,
    find_shards,
    record_size,
    write_shard,
)
from tests.augmented import write_summary


def write_shards(folder: Path, side: int, records: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    pairs = [
        (
            rng.integers(0, 256, (side, side), np.uint8),
            rng.integers(0, 256, (side, side), np.uint8),
        )
        for _ in range(records)
    ]
    half = records // 2
    encoded = [encode_record(f"A/{i}", *pair) for i, pair in enumerate(pairs)]
    write_shard(folder / "train-00000-of-00002.tfrecord", encoded[:half])
    write_shard(folder / "train-00001-of-00002.tfrecord", encoded[half:])
    write_summary(folder, side, train=records)
    return pairs


def test_missing_summary_of_the_augment_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"augment\.json: no such file.*run the stage augment first"
    ):
        find_shards(tmp_path, "train")


@pytest.mark.parametrize("damage", ["missing", "empty", "all"])
def test_incomplete_shards_are_refused(tmp_path: Path, damage: str) -> None:
    write_shards(tmp_path, 8, 6)
    first, second = sorted(tmp_path.glob("*.tfrecord"))
    if damage == "empty":
        second.write_bytes(b"")
    else:
        second.unlink()
    if damage == "all":
        first.unlink()

    with pytest.raises(StageError, match=r"shards train-\*\.tfrecord, some missing or empty"):
        find_shards(tmp_path, "train")


@pytest.mark.parametrize(("side", "size"), [(8, 128), (18, 648), (256, 131072)])
def test_a_record_is_little_more_than_its_image_and_its_mask(side: int, size: int) -> None:
    record = encode_record("A/1", *(np.zeros((2, side, side), np.uint8)))

    assert record_size(side) == size
    assert 0 < len(record) - size < 80
