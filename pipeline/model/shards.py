"""TFRecord shards of training images, written and read without TensorFlow.

A record is a tf.train.Example of bytes features: `image_id` (UTF-8), `image` and `mask` (S*S uint8
each), and `convention` (one uint8) where the masks are of several. The mask is the share of each
pixel that is lung, 255 for all of it: at less than the mask's own size, labels of 0 and 1 would
cost 0.012 Dice (docs/accuracy.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import google_crc32c

from pipeline.artifacts import Artifact
from pipeline.conventions import STANDARD
from pipeline.errors import StageError
from pipeline.params import AugmentParams
from pipeline.radiograph.grey import Grey

TRAIN = "train"
"""The split that has copies."""

AUGMENT_SUMMARY_FILE = Path("artifacts/augment/augment.json")
"""Below the project's root, beside the shards."""


class AugmentSummary(Artifact):
    """augment.json: what the shards hold and how their copies were drawn."""

    made_by: ClassVar[str] = "the stage augment"

    image_size: int
    """Pixels of a side."""
    pairs: dict[str, int]
    """Of each split."""
    records: dict[str, int]
    """Of each split, in an epoch of training: its pairs and their copies."""
    conventions: list[str]
    """Of the masks of both splits, in the order of pipeline.conventions."""
    fresh: AugmentParams | None
    """What training draws the copies with, where the shards hold none."""
    redrawn: dict[str, int]
    """How many copies were drawn again, by fault; of fresh ones among those that were tried."""
    transforms: Any
    """The pipeline as albumentations writes it."""
    albumentations: str
    """Its version."""


@dataclass(frozen=True)
class Shards:
    """The shards of one split."""

    paths: list[Path]
    records: int
    """Of an epoch: those that the shards hold, and the copies that are drawn of them."""
    image_size: int
    conventions: tuple[str, ...] = (STANDARD,)
    """That the network is told; of one convention records say nothing, of several each says its."""
    fresh: AugmentParams | None = None
    """What training draws copies with; without it the shards hold whatever there is."""

    @property
    def passes(self) -> int:
        """How often an epoch reads each record: once as it is, and once for each copy of it."""
        return self.fresh.copies + 1 if self.fresh else 1

    def drawn_by(self, workers: int) -> Shards:
        """The same, of which so many processes draw the copies; 0: one per core."""
        if self.fresh is None:
            return self
        return replace(self, fresh=self.fresh.model_copy(update={"workers": workers}))


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
            file.write(length + masked_crc(length) + record + masked_crc(record))


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
    fresh = made.fresh if split == TRAIN else None
    return Shards(paths, made.records[split], made.image_size, tuple(made.conventions), fresh)


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


def masked_crc(content: bytes) -> bytes:
    """CRC-32C with the rotation and offset of the TFRecord format."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
