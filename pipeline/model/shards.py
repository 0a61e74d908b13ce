"""TFRecord shards of training images, written without TensorFlow and read with tf.data.

A record is a tf.train.Example of bytes features: `image_id` (UTF-8), `image` and `mask` (S*S uint8
each), and `convention` (one uint8) where the masks are of several. The mask is the share of each
pixel that is lung, 255 for all of it: at less than the mask's own size, labels of 0 and 1 would
cost 0.012 Dice (docs/accuracy.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import Artifact
from pipeline.conventions import STANDARD
from pipeline.errors import StageError
from pipeline.radiograph.grey import Grey

if TYPE_CHECKING:
    import tensorflow as tf


AUGMENT_SUMMARY_FILE = Path("artifacts/augment/augment.json")
"""Below the project's root, beside the shards."""

SHUFFLE_BYTES = 64 * 2**20
"""Of records that wait in memory; shards and their records are already in random order, so this
has only to spread the copies of a pair, which share a shard."""

PARALLEL_READS = 4
"""Shards that are open at once, their records taken in turn."""

READ_BYTES = 2**20  # read at once from a shard


class AugmentSummary(Artifact):
    """augment.json: what the shards hold and how their copies were drawn."""

    made_by: ClassVar[str] = "the stage augment"

    image_size: int
    """Pixels of a side."""
    pairs: dict[str, int]
    """Of each split."""
    records: dict[str, int]
    """Of each split: its pairs and their copies."""
    conventions: list[str]
    """Of the masks of both splits, in the order of pipeline.conventions."""
    redrawn: dict[str, int]
    """How many copies were drawn again, by fault."""
    transforms: Any
    """The pipeline as albumentations writes it."""
    albumentations: str
    """Its version."""


@dataclass(frozen=True)
class Shards:
    """The shards of one split."""

    paths: list[Path]
    records: int
    image_size: int
    conventions: tuple[str, ...] = (STANDARD,)
    """That the network is told; of one convention records say nothing, of several each says its."""


def encode_record(image_id: str, image: Grey, mask: Grey, convention: int | None = None) -> bytes:
    """A serialised tf.train.Example of `image` (S, S) and `mask` (S, S), share of lung, 0..255.

    `convention` is the place of the mask's convention among those of the shards, 0..255, where
    there are several.
    """
    features = {
        "image_id": image_id.encode(),
        "image": image.tobytes(),
        "mask": mask.tobytes(),
    }
    if convention is not None:
        features["convention"] = bytes([convention])
    return _example(features)


def record_size(side: int) -> int:
    """About how many bytes a record of images (side, side) has: its image and its mask."""
    return 2 * side**2


def write_shard(path: Path, records: Iterable[bytes]) -> None:
    """Write serialised examples as a TFRecord file; importing TensorFlow for it costs 15 s."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length) + record + _masked_crc(record))


def find_shards(folder: Path, split: str) -> Shards:
    """The shards of `split` below `folder`; raises StageError when any is missing or empty."""
    made = AugmentSummary.read(folder / AUGMENT_SUMMARY_FILE.name)
    paths = sorted(folder.glob(f"{split}-*-of-*.tfrecord"))
    announced = {int(path.stem.rpartition("-")[2]) for path in paths}
    if announced != {len(paths)} or not all(path.stat().st_size for path in paths):
        raise StageError(
            f"{folder}: found {len(paths)} shards {split}-*.tfrecord, some missing or empty; "
            "run the stage augment again",
        )
    return Shards(paths, made.records[split], made.image_size, tuple(made.conventions))


def read_shards(shards: Shards, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Batches of images uint8 (N, S, S, 1), 0..255, and masks float32, the share of lung, 0..1.

    Where there are several conventions, the images come with `told` float32 (N, C), one-hot.
    With a `seed`, for training, they are in the random order of that seed, and of full size: a last
    batch of one or two radiographs would spoil the normalisation's means. The rest takes part in
    another epoch, which has another seed.
    """
    import tensorflow as tf

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in shards.paths])
    if seed is not None:
        # By default every iterator has another order, and some engines peek with one of their own.
        files = files.shuffle(len(shards.paths), seed=seed, reshuffle_each_iteration=False)
    records = files.interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=READ_BYTES),
        cycle_length=PARALLEL_READS,
        num_parallel_calls=PARALLEL_READS,
        deterministic=True,
    )
    if seed is not None:
        buffered = max(1, SHUFFLE_BYTES // record_size(shards.image_size))
        records = records.shuffle(
            min(buffered, shards.records), seed=seed, reshuffle_each_iteration=False
        )
    full = seed is not None and shards.records >= batch_size
    batches = shards.records // batch_size if full else -(-shards.records // batch_size)
    return (
        records.batch(batch_size, drop_remainder=full)
        .map(lambda batch: _decode(batch, shards), num_parallel_calls=tf.data.AUTOTUNE)
        .apply(tf.data.experimental.assert_cardinality(batches))
        .prefetch(tf.data.AUTOTUNE)
    )


def read_first(shards: Shards, count: int) -> tuple[Grey, NDArray[np.float32], Grey]:
    """At most `count` radiographs, the first, with what is told and their masks.

    uint8 (N, S, S), 0..255; float32 (N, C), one-hot, also of a single convention; and 0/1.
    """
    inputs, shares = next(iter(read_shards(shards, count)))
    images, told = inputs if len(shards.conventions) > 1 else (inputs, np.ones((len(inputs), 1)))
    masks = (np.asarray(shares) >= 0.5).astype(np.uint8)
    return np.asarray(images)[..., 0], np.asarray(told, np.float32), masks[..., 0]


def _decode(batch: Any, shards: Shards) -> tuple[Any, Any]:
    import tensorflow as tf

    several = len(shards.conventions) > 1
    names = ("image", "mask", "convention")[: 3 if several else 2]
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    features = {
        name: tf.io.decode_raw(content, tf.uint8)
        for name, content in tf.io.parse_example(batch, spec).items()
    }
    shape = [-1, shards.image_size, shards.image_size, 1]
    image, mask = (tf.reshape(features[name], shape) for name in ("image", "mask"))
    share = tf.cast(mask, tf.float32) / 255
    if not several:
        return image, share
    return (image, tf.one_hot(features["convention"][:, 0], len(shards.conventions))), share


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
    """CRC-32C with the rotation and offset of the TFRecord format."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
