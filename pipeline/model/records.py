"""The records of a shard: where they lie, and what is in one, both verified.

TFRecord: a length, its checksum, so many bytes, their checksum (pipeline.model.shards writes it).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import StageError
from pipeline.model.shards import masked_crc
from pipeline.radiograph.grey import Grey

HEADER, FOOTER = 12, 4  # bytes before and after a record

FEATURES = ("image_id", "image", "mask")
"""That every record has; `convention` may follow."""


@dataclass(frozen=True)
class Record:
    """A pair as a shard holds it."""

    image_id: str
    image: Grey  # (S, S), 0..255
    mask: Grey  # (S, S), share of lung, 0..255
    convention: int
    """The place of the mask's convention among those of the shards."""


class RecordPlace(NamedTuple):
    """Where a record lies."""

    shard: int
    """Its number among the shards of the split."""
    path: str
    offset: int
    """Of the record itself, behind its header."""
    size: int
    """Bytes."""
    number: int
    """In the shard."""


def damaged_shard(path: Path | str, reason: str) -> StageError:
    """The error for a shard that is not what the stage augment wrote."""
    folder, name = Path(path).parent, Path(path).name
    return StageError(
        f"{folder}: a shard is damaged or of another size ({name}: {reason}); "
        "run the stage augment again",
    )


def record_places(shard: int, path: Path) -> Iterator[RecordPlace]:
    """The places of the records of a shard; raises StageError when it is no whole file of records.

    Only the headers are read, all of them when the first place is asked for.
    """
    try:
        with path.open("rb", buffering=0) as file:
            # So the system reads it in one go, though its records are asked for in another order.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            places = list(_places(shard, path, file.fileno()))
    except OSError as error:
        raise damaged_shard(path, error.strerror or type(error).__name__) from None
    yield from places


def _places(shard: int, path: Path, file: int) -> Iterator[RecordPlace]:
    end = os.fstat(file).st_size
    offset = number = 0
    while offset < end:
        header = os.pread(file, HEADER, offset)
        if len(header) == HEADER and header[8:] != masked_crc(header[:8]):
            raise damaged_shard(path, f"found another checksum of the length of record {number}")
        size = struct.unpack("<Q", header[:8])[0] if len(header) == HEADER else end
        if offset + HEADER + size + FOOTER > end:
            raise damaged_shard(path, f"found a truncated record {number}")
        yield RecordPlace(shard, str(path), offset + HEADER, size, number)
        offset += HEADER + size + FOOTER
        number += 1


def read_record(place: RecordPlace, side: int, conventions: int) -> Record:
    """The record of images (side, side) and of so many conventions that lies there.

    Raises StageError for one whose checksum or content is another.
    """
    try:
        with open(place.path, "rb", buffering=0) as file:  # noqa: PTH123 -- Path takes as long again
            content = os.pread(file.fileno(), place.size, place.offset)
            checksum = os.pread(file.fileno(), FOOTER, place.offset + place.size)
    except OSError as error:
        raise damaged_shard(place.path, error.strerror or type(error).__name__) from None
    if checksum != masked_crc(content):
        raise damaged_shard(place.path, f"found another checksum of record {place.number}")
    try:
        return decode_record(content, side, conventions)
    except ValueError as error:
        raise damaged_shard(place.path, f"record {place.number}: {error}") from None


def decode_record(content: bytes, side: int, conventions: int) -> Record:
    """What `pipeline.model.shards.encode_record` made a record of; raises ValueError."""
    features = list(_features(content))
    expected = sorted([*FEATURES, "convention"] if conventions > 1 else FEATURES)
    names = sorted(name for name, _ in features)
    if names != expected:
        raise ValueError(f"found {', '.join(names)[:80]}, expected {', '.join(expected)}")
    found = dict(features)
    convention = int.from_bytes(found["convention"]) if conventions > 1 else 0
    if convention >= conventions:
        raise ValueError(f"found convention {convention}, expected one below {conventions}")
    image, mask = (_square(name, found[name], side) for name in ("image", "mask"))
    return Record(str(found["image_id"], "utf-8"), image, mask, convention)


def _square(name: str, pixels: memoryview, side: int) -> Grey:
    if len(pixels) != side**2:
        raise ValueError(f"found {name} of {len(pixels)} pixels, expected {side} x {side}")
    return np.frombuffer(pixels, np.uint8).reshape(side, side)


def _features(content: bytes) -> Iterator[tuple[str, memoryview]]:
    """Names and values of a tf.train.Example whose features are single bytes values.

    Nested messages: features, an entry of a map for each, its key and its value, which is a list.
    """
    (features,) = _messages(memoryview(content), (1,))
    for entry in _messages(features, None):
        name, feature = _messages(entry, (1, 2))
        (values,) = _messages(feature, (1,))
        (value,) = _messages(values, (1,))
        yield str(name, "utf-8"), value


def _messages(content: memoryview, numbers: tuple[int, ...] | None) -> list[memoryview]:
    """The fields of a protocol buffer, which are messages or bytes with just these numbers.

    Without `numbers` there may be any count of fields of number 1. Raises ValueError.
    """
    found: list[memoryview] = []
    tags: list[int] = []
    start, end = 0, len(content)
    while start < end:
        tags.append(content[start])
        size = shift = 0
        byte = 0x80
        while byte & 0x80:
            start += 1
            if start >= end or shift > 56:
                raise ValueError("found no tf.train.Example")
            byte = content[start]
            size |= (byte & 0x7F) << shift
            shift += 7
        start += 1
        found.append(content[start : start + size])
        start += size
    wanted = (1,) * len(found) if numbers is None else numbers
    if start != end or tags != [number << 3 | 2 for number in wanted]:
        raise ValueError("found no tf.train.Example of single bytes values")
    return found
