from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model import shards as shards_module
from pipeline.model.shards import (
    encode_record,
    find_shards,
    read_first,
    read_shards,
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


def test_records_come_back_from_tensorflow_as_they_were(tmp_path: Path) -> None:
    pairs = write_shards(tmp_path, 18, 7)

    batches = list(read_shards(find_shards(tmp_path, "train"), 3).as_numpy_iterator())

    assert [len(images) for images, _ in batches] == [3, 3, 1]
    images = np.concatenate([images for images, _ in batches])[..., 0]
    shares = np.concatenate([masks for _, masks in batches])[..., 0]
    assert shares.dtype == np.float32
    assert (shares.min(), shares.max()) == (0, 1)
    masks = np.rint(shares * 255).astype(np.uint8)
    found = {image.tobytes(): mask.tobytes() for image, mask in zip(images, masks, strict=True)}
    assert found == {image.tobytes(): mask.tobytes() for image, mask in pairs}


def test_a_seed_decides_the_order_of_training(tmp_path: Path) -> None:
    write_shards(tmp_path, 8, 20)
    shards = find_shards(tmp_path, "train")

    def order(seed: int | None) -> bytes:
        return b"".join(i.tobytes() for i, _ in read_shards(shards, 20, seed).as_numpy_iterator())

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(None)


def test_every_iterator_over_a_seed_has_its_order(tmp_path: Path) -> None:
    write_shards(tmp_path, 8, 40)
    batches = read_shards(find_shards(tmp_path, "train"), 5, seed=3)

    orders = [
        [image.tobytes() for images, _ in batches.as_numpy_iterator() for image in images]
        for _ in range(3)
    ]

    assert orders[0] == orders[1] == orders[2]
    assert len(set(orders[0])) == 40


def test_a_small_buffer_still_gives_every_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards_module, "SHUFFLE_BYTES", 3 * 128)
    pairs = write_shards(tmp_path, 8, 20)

    batches = read_shards(find_shards(tmp_path, "train"), 5, seed=1).as_numpy_iterator()

    found = sorted(image.tobytes() for images, _ in batches for image in images)
    assert found == sorted(image.tobytes() for image, _ in pairs)


@pytest.mark.parametrize(("side", "size"), [(8, 128), (18, 648), (256, 131072)])
def test_a_record_is_little_more_than_its_image_and_its_mask(side: int, size: int) -> None:
    record = encode_record("A/1", *(np.zeros((2, side, side), np.uint8)))

    assert record_size(side) == size
    assert 0 < len(record) - size < 80


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8, 8]), (20, [20]), (32, [20])])
def test_training_takes_full_batches_where_there_are_any(
    tmp_path: Path, batch_size: int, sizes: list[int]
) -> None:
    write_shards(tmp_path, 8, 20)
    shards = find_shards(tmp_path, "train")

    batches = read_shards(shards, batch_size, seed=1)

    assert [len(images) for images, _ in batches.as_numpy_iterator()] == sizes
    assert len(batches) == len(sizes)


def test_the_first_radiographs_come_with_masks_of_what_is_lung_by_half(tmp_path: Path) -> None:
    pairs = write_shards(tmp_path, 8, 20)

    images, told, masks = read_first(find_shards(tmp_path, "train"), 3)

    assert told.tolist() == [[1]] * 3
    assert (images.shape, masks.shape) == ((3, 8, 8), (3, 8, 8))
    lungs = {image.tobytes(): (mask >= 128).astype(np.uint8).tobytes() for image, mask in pairs}
    assert all(
        lungs[image.tobytes()] == mask.tobytes() for image, mask in zip(images, masks, strict=True)
    )


def test_of_several_conventions_each_record_tells_its_own(tmp_path: Path) -> None:
    places = {bytes([place]) * 64: place for place in (2, 0, 1, 2, 1)}
    records = [
        encode_record(f"A/{place}", *np.full((2, 8, 8), place, np.uint8), place)
        for place in places.values()
    ]
    write_shard(tmp_path / "train-00000-of-00001.tfrecord", records)
    write_summary(tmp_path, 8, train=len(records))
    shards = replace(find_shards(tmp_path, "train"), conventions=("standard", "a", "b"))

    for seed in (None, 1):
        batches = list(read_shards(shards, 2, seed).as_numpy_iterator())
        for (images, told), masks in batches:
            assert (told.dtype, told.shape) == (np.float32, (len(images), 3))
            assert masks.dtype == np.float32
            for image, one in zip(images, told, strict=True):
                assert one.tolist() == np.eye(3)[places[image.tobytes()]].tolist()
    images, told, _ = read_first(shards, 2)
    assert told.argmax(1).tolist() == [places[image.tobytes()] for image in images]
