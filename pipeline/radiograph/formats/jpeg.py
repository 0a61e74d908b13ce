"""JPEG files, walked marker by marker before anything is decoded.

The decoder is given the segments that make the picture; EXIF blocks, ICC profiles and embedded
further pictures are left out. Source: ITU-T Recommendation T.81, annex B.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.stored import Stored, damaged, refuse_large

SIGNATURE = b"\xff\xd8\xff"
END, SCAN = 0xD9, 0xDA
READABLE = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, all Huffman-coded
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Application data and comments, but for the resolution and Adobe's note on the colours.
LEFT_OUT = frozenset([*range(0xE1, 0xEE), 0xEF, 0xFE])
MAX_SCANS = 100  # a progressive file has about ten; each one is a pass over all pixels
MAX_SEGMENTS = 10_000  # a profile of 64 MB has a thousand
SEGMENT = re.compile(rb"\xff+([^\x00\xff])")
# A marker within coded data: neither a stuffed 0xFF, nor a restart, nor fill.
IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# What Pillow raises for coded data that makes no picture.
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error)


@dataclass(frozen=True)
class Jpeg:
    """A complete JPEG of 8 bits per sample, its pixels still compressed."""

    width: int
    height: int
    channels: int
    segments: bytes

    def decode(self) -> Stored:
        """Decode the pixels; raises UnreadableError."""
        try:
            with Image.open(io.BytesIO(self.segments), formats=("JPEG",)) as image:
                image.load()
                return Stored(np.array(image), image.mode)
        except UNDECODABLE:
            raise damaged("the pixels cannot be decoded") from None


def parse_jpeg(content: bytes) -> Jpeg:
    """Check a JPEG's structure and declared size; raises UnreadableError."""
    segments = list(walk_segments(content))
    frames = [segment for marker, segment in segments if marker in FRAMES]
    scans = sum(marker == SCAN for marker, _ in segments)
    if len(frames) != 1 or not scans:
        raise damaged("has no picture, or several")
    if scans > MAX_SCANS:
        raise UnreadableError("too_large", f"has {scans} scans, expected at most {MAX_SCANS}")
    width, height, channels = _described(frames[0])
    refuse_large(width, height, width * height * channels, len(content))
    kept = [segment for marker, segment in segments if marker not in LEFT_OUT]
    return Jpeg(width, height, channels, b"".join([b"\xff\xd8", *kept, b"\xff\xd9"]))


def walk_segments(
    content: bytes, in_scan: re.Pattern[bytes] = IN_SCAN
) -> Iterator[tuple[int, bytes]]:
    """Yield each marker with its segment, coded data included, up to the end of the picture.

    `in_scan` finds a marker within coded data. Raises UnreadableError for a file that breaks off.
    """
    place = 2
    for _ in range(MAX_SEGMENTS):
        marker = SEGMENT.match(content, place)
        if marker is None:
            raise damaged("breaks off, or has no marker where one must be")
        kind, start = marker[1][0], marker.start(1) - 1
        if kind == END:
            return
        place = _segment_end(content, start, kind, in_scan)
        yield kind, content[start:place]
    raise UnreadableError("too_large", f"has more than {MAX_SEGMENTS} segments; export it again")


def _segment_end(content: bytes, start: int, kind: int, in_scan: re.Pattern[bytes]) -> int:
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
    if end < start + 4 or end > len(content):
        raise damaged("ends within a segment")
    if kind != SCAN:
        return end
    following = in_scan.search(content, end)
    if following is None:
        raise damaged("ends within its pixels")
    return following.start()


def _described(frame: bytes) -> tuple[int, int, int]:
    """Width, height and channels of a frame header that the decoder can do."""
    if frame[1] not in READABLE:
        raise UnreadableError(
            "mode", "is lossless or arithmetic-coded JPEG, expected baseline; export it so"
        )
    if len(frame) < 10:
        raise damaged("the frame header is too short")
    depth, height, width, channels = struct.unpack_from(">BHHB", frame, 4)
    if depth != 8:
        raise UnreadableError("bit_depth", f"is JPEG of {depth} bits, expected 8; export it as PNG")
    if not (width and height):
        raise damaged(f"header declares {width}x{height} pixels")
    if channels not in (1, 3):
        raise UnreadableError("mode", f"has {channels} channels, expected grey; export it as grey")
    return width, height, channels
