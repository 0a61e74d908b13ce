"""JPEG 2000 codestreams within DICOM files, judged by their header before anything is decoded.

High-Throughput JPEG 2000 among them. Source: ITU-T Recommendations T.800 (ISO/IEC 15444-1), A.5.1,
and T.814.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.decoders import decode_apart
from pipeline.radiograph.formats.stored import damaged

SIGNATURE = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
MAX_BOXES = 100  # there are about five
MAX_TILES = 10_000  # radiographs have one, or a few hundred


@dataclass(frozen=True)
class Codestream:
    """A codestream of one channel that is complete, its pixels still compressed."""

    width: int
    height: int
    bits: int
    signed: bool
    content: bytes

    def decode(self) -> NDArray[Any]:
        """Decode the pixels, 8 or 16 bits, signed or not.

        Raises UnreadableError if damaged, and CrashedError when no decoder can run.
        """
        kind = f"{'i' if self.signed else 'u'}{1 if self.bits <= 8 else 2}"
        pixels: NDArray[Any] = np.empty((self.height, self.width), kind)
        decode_apart("JPEG 2000", self.content, pixels)
        return pixels


def parse_codestream(content: bytes, width: int, height: int) -> Codestream:
    """Check that a codestream is whole and of this size; raises UnreadableError.

    It may stand within a JP2 file, as some programs write it.
    """
    if content.startswith(JP2):
        content = _unwrapped(content)
    if not content.startswith(SIGNATURE) or not content.rstrip(b"\0").endswith(END):
        raise damaged("the JPEG 2000 codestream breaks off")
    if len(content) < 43:
        raise damaged("the JPEG 2000 header is too short")
    right, bottom, left, top, across, down, channels, precision = struct.unpack_from(
        ">6I8xHB", content, 8
    )
    # Of the precision the highest bit says signed, the others bits - 1.
    if channels != 1 or precision % 128 >= 16 or not (across and down):
        raise damaged("the JPEG 2000 codestream is not of one channel of 16 bits at most")
    tiles = math.ceil(right / across) * math.ceil(bottom / down)
    if tiles > MAX_TILES:
        raise UnreadableError("too_large", f"has {tiles} tiles, expected at most {MAX_TILES}")
    if (right - left, bottom - top) != (width, height):
        raise damaged(
            f"compressed pixels are {right - left}x{bottom - top}, not as the header says"
        )
    return Codestream(width, height, precision % 128 + 1, precision >= 128, content)


def _unwrapped(content: bytes) -> bytes:
    """The codestream of a JP2 file (T.800, annex I)."""
    place = 0
    for _ in range(MAX_BOXES):
        if place + 16 > len(content):
            break
        length, kind, long = struct.unpack_from(">I4sQ", content, place)
        start, length = (place + 16, long) if length == 1 else (place + 8, length)
        end = place + length if length else len(content)
        if kind == b"jp2c":
            return content[start:end]
        if end < start:
            break
        place = end
    raise damaged("the JP2 file holds no codestream")
