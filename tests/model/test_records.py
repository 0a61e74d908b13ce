from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.records import decode_record, read_record, record_places
from pipeline.model.shards import encode_record, masked_crc, write_shard

SIDE = 8
RANDOM = np.random.default_rng(4)
IMAGE, MASK = RANDOM.integers(0, 256, (2, SIDE, SIDE), np.uint8)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "train-00000-of-00001.tfrecord"
    write_shard(path, [encode_record(f"A/{i}", IMAGE, MASK) for i in range(3)])
    return path


def read_all(shard: Path) -> None:
    for place in record_places(0, shard):
        read_record(place, SIDE, 1)


@pytest.mark.parametrize(("convention", "conventions"), [(None, 1), (0, 2), (1, 2), (255, 256)])
def test_a_record_says_what_was_written(convention: int | None, conventions: int) -> None:
    content = encode_record("Überblick/1", IMAGE, MASK, convention)

    found = decode_record(content, SIDE, conventions)

    assert (found.image_id, found.convention) == ("Überblick/1", convention or 0)
    np.testing.assert_array_equal(found.image, IMAGE)
    np.testing.assert_array_equal(found.mask, MASK)


@pytest.mark.parametrize(
    ("content", "conventions", "reason"),
    [
        (encode_record("A", IMAGE[:4], MASK), 1, "found image of 32 pixels, expected 8 x 8"),
        (encode_record("A", IMAGE, MASK[:4]), 1, "found mask of 32 pixels, expected 8 x 8"),
        (encode_record("A", IMAGE, MASK, 0), 1, "found convention, image, image_id, mask, expec"),
        (encode_record("A", IMAGE, MASK), 2, "expected convention, image, image_id, mask"),
        (encode_record("A", IMAGE, MASK, 2), 2, "found convention 2, expected one below 2"),
        (encode_record("A", IMAGE, MASK)[:-1], 1, r"no tf\.train\.Example"),
        (encode_record("A", IMAGE, MASK) + b"\x0a\x00", 1, r"no tf\.train\.Example"),
        (encode_record("A", IMAGE, MASK) + b"\x0a", 1, r"no tf\.train\.Example"),
        (b"", 1, r"no tf\.train\.Example"),
        (b"\x0a" + b"\xff" * 12, 1, r"no tf\.train\.Example"),
        (b"\x08\x01", 1, r"no tf\.train\.Example"),
        (b"\x0a\x02\x12\x00", 1, r"no tf\.train\.Example"),
    ],
)
def test_another_record_is_refused(content: bytes, conventions: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_record(content, SIDE, conventions)


def test_a_feature_that_stands_twice_is_refused() -> None:
    content = encode_record("A", IMAGE, MASK)
    inside = content[3:] if content[1] & 0x80 else content[2:]
    doubled = bytes([0x0A, len(inside) * 2 & 0x7F | 0x80, len(inside) * 2 >> 7]) + inside * 2

    with pytest.raises(ValueError, match="found image, image, image_id, image_id, mask, mask"):
        decode_record(doubled, SIDE, 1)


@pytest.mark.parametrize("cut", range(1, 300, 13))
def test_a_shard_that_was_cut_is_refused_before_it_is_read(shard: Path, cut: int) -> None:
    shard.write_bytes(shard.read_bytes()[:-cut])
    if not shard.stat().st_size % (len(encode_record("A/0", IMAGE, MASK)) + 16):
        return  # whole records are left

    with pytest.raises(StageError, match=r"damaged or of another size.* truncated record"):
        list(record_places(0, shard))


def test_every_flipped_bit_is_found(shard: Path) -> None:
    content = shard.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        shard.write_bytes(damaged)

        with pytest.raises(StageError, match=r"tfrecord: found .*run the stage augment again"):
            read_all(shard)


def test_a_whole_record_of_something_else_is_named(tmp_path: Path) -> None:
    shard = tmp_path / "val-00000-of-00001.tfrecord"
    length = struct.pack("<Q", 3)
    shard.write_bytes(length + masked_crc(length) + b"abc" + masked_crc(b"abc"))
    (place,) = record_places(5, shard)

    assert place.shard == 5
    with pytest.raises(StageError, match=r"val-00000-of-00001\.tfrecord: record 0: found no tf\."):
        read_record(place, SIDE, 1)


def test_a_shard_that_vanished_is_named(shard: Path) -> None:
    places = list(record_places(0, shard))
    shard.unlink()

    with pytest.raises(StageError, match=r"00001\.tfrecord: No such file or directory"):
        list(record_places(0, shard))
    with pytest.raises(StageError, match=r"00001\.tfrecord: No such file or directory"):
        read_record(places[0], SIDE, 1)
