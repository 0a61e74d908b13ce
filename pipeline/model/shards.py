"""TFRecord shards of training images, written without TensorFlow and read with tf.data.

A record is a tf.train.Example of three bytes features: `image_id` (UTF-8), `image` (S*S uint8) and
`mask` (numpy.packbits of S*S values 0/1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.files import read_json

if TYPE_CHECKING:
    import tensorflow as tf

Grey = NDArray[np.uint8]

SHUFFLE_BUFFER = 512
"""Records in memory; the shards are already in random order."""

CRC_BLOCK = 256
CASTAGNOLI = np.uint32(0x82F63B78)


@dataclass(frozen=True)
class Shards:
    """The shards of one split."""

    paths: list[Path]
    records: int
    image_size: int


def encode_record(image_id: str, image: Grey, mask: Grey) -> bytes:
    """A serialised tf.train.Example of `image` (S, S) 0..255 and `mask` (S, S) 0/1."""
    return _example(
        {
            "image_id": image_id.encode(),
            "image": image.tobytes(),
            "mask": np.packbits(mask).tobytes(),
        },
    )


def write_shard(path: Path, records: Iterable[bytes]) -> None:
    """Write serialised examples as a TFRecord file; importing TensorFlow for it costs 15 s."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length) + record + _masked_crc(record))


def find_shards(folder: Path, split: str) -> Shards:
    """The shards of `split` below `folder`; raises StageError when any is missing or empty."""
    try:
        made = read_json(folder / "augment.json")
    except FileNotFoundError:
        raise StageError(
            f"{folder / 'augment.json'}: no such file; run the stage augment first",
        ) from None
    paths = sorted(folder.glob(f"{split}-*-of-*.tfrecord"))
    announced = {int(path.stem.rpartition("-")[2]) for path in paths}
    if announced != {len(paths)} or not all(path.stat().st_size for path in paths):
        raise StageError(
            f"{folder}: found {len(paths)} shards {split}-*.tfrecord, some missing or empty; "
            "run the stage augment again",
        )
    return Shards(paths, made["records"][split], made["image_size"])


def read_shards(shards: Shards, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Batches of uint8 (N, S, S, 1) images 0..255 and masks 0/1.

    With a `seed`, for training, they are shuffled and of full size: a last batch of one or two
    radiographs would spoil the normalisation's means. The rest takes part in another epoch.
    """
    import tensorflow as tf

    records = tf.data.TFRecordDataset(
        [str(path) for path in shards.paths],
        num_parallel_reads=min(len(shards.paths), 4),
    )
    full = seed is not None and shards.records >= batch_size
    batches = shards.records // batch_size if full else -(-shards.records // batch_size)
    if seed is not None:
        records = records.shuffle(SHUFFLE_BUFFER, seed=seed)
    return (
        records.batch(batch_size, drop_remainder=full)
        .map(lambda batch: _decode(batch, shards.image_size), num_parallel_calls=tf.data.AUTOTUNE)
        .apply(tf.data.experimental.assert_cardinality(batches))
        .prefetch(tf.data.AUTOTUNE)
    )


def _decode(batch: Any, image_size: int) -> tuple[Any, Any]:
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "mask")}
    features = tf.io.parse_example(batch, spec)
    shape = [-1, image_size, image_size, 1]
    image = tf.reshape(tf.io.decode_raw(features["image"], tf.uint8), shape)
    packed = tf.io.decode_raw(features["mask"], tf.uint8)[..., None]
    bits = tf.bitwise.right_shift(packed, np.arange(7, -1, -1, dtype=np.uint8)) & 1
    flat = tf.reshape(bits, [tf.shape(packed)[0], -1])[:, : image_size**2]
    return image, tf.reshape(flat, shape)


def _example(features: Mapping[str, bytes]) -> bytes:
    """Protocol buffer of tf.train.Example; all nested fields used here have number 1 or 2."""
    entries = b""
    for name, value in sorted(features.items()):
        feature = _field(1, _field(1, value))
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _masked_crc(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli), RFC 3720, of at least four bytes.

    A CRC is linear: each byte is looked up by its distance to the end of its block, all blocks at
    once, and then the blocks are joined: 0.25 ms for 18 kB, where a loop over bytes takes 3 ms.
    """
    distance, ahead = _tables()
    # Zeros in front change nothing while the register is zero; the ones that it starts with are
    # the same as inverting the first four bytes.
    padded = np.zeros(-len(content) % CRC_BLOCK + len(content), np.uint8)
    message = padded[-len(content) :]
    message[:] = np.frombuffer(content, np.uint8)
    message[:4] ^= 0xFF
    blocks = distance[np.arange(CRC_BLOCK), padded.reshape(-1, CRC_BLOCK)]
    crc = 0
    for part in np.bitwise_xor.reduce(blocks, axis=1).tolist():
        low = ahead[0][crc & 0xFF] ^ ahead[1][crc >> 8 & 0xFF]
        crc = low ^ ahead[2][crc >> 16 & 0xFF] ^ ahead[3][crc >> 24] ^ part
    return crc ^ 0xFFFFFFFF


@cache
def _tables() -> tuple[NDArray[np.uint32], list[list[int]]]:
    """The register after a byte at each place of a block, and a register a whole block later."""
    single: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        single = np.asarray(single >> 1 ^ (single & 1) * CASTAGNOLI, np.uint32)
    distance = [single]
    ahead = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    for _ in range(CRC_BLOCK):
        distance.insert(0, single[distance[0] & 0xFF] ^ distance[0] >> 8)
        ahead = single[ahead & 0xFF] ^ ahead >> 8
    return np.stack(distance[1:]), ahead.tolist()
