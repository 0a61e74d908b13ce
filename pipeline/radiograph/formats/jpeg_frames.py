"""JPEG, JPEG Lossless and JPEG-LS as DICOM holds them: one channel, up to 16 bits.

A stream is walked marker by marker and compared with what the DICOM header declares before a
decoder sees it, in a process of its own (decoders.py). What the stream is counts, not which of
these the transfer syntax names. Source: ITU-T Recommendations T.81, annex B, and T.87, annex C.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.decoders import decode_apart
from pipeline.radiograph.formats.jpeg import (
    FRAMES,
    IN_SCAN,
    MAX_SCANS,
    READABLE,
    SCAN,
    walk_segments,
)
from pipeline.radiograph.formats.jpeg_lossless import check_coded_data
from pipeline.radiograph.formats.stored import damaged

START = b"\xff\xd8"
LOSSLESS, LS = 0xC3, 0xF7
HEADERS = FRAMES | {LS}
# Within JPEG-LS's coded data a bit of 0 follows each byte of ones, not a byte of 0.
IN_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
# Application data and comments; of one channel even Adobe's note says nothing.
DROPPED = frozenset([*range(0xE0, 0xF0), 0xFE])


@dataclass(frozen=True)
class _Stream:
    """A complete stream of one channel, as its own header describes it."""

    kind: int
    precision: int
    rows: int
    columns: int
    segments: list[tuple[int, bytes]]

    @property
    def content(self) -> bytes:
        return b"".join([START, *(segment for _, segment in self.segments), b"\xff\xd9"])


def decode_frame(
    frame: bytes, rows: int, columns: int, bits: int, signed: bool
) -> NDArray[np.int32]:
    """Decode the frame of a DICOM file, int32 (rows, columns), as its header declares it.

    The values are what the file would hold uncompressed: negative ones only of signed pixels, and
    perhaps bits above the stored ones. Raises UnreadableError for a stream that is not whole, of
    another size, or of another coding than these, and CrashedError when no decoder can run.
    """
    stream = _parse_stream(frame)
    if (stream.columns, stream.rows) != (columns, rows):
        raise damaged(
            f"compressed pixels are {stream.columns}x{stream.rows}, not as the header says"
        )
    pixels = np.empty((rows, columns), np.uint8 if stream.precision <= 8 else np.uint16)
    decode_apart("JPEG-LS" if stream.kind == LS else "JPEG", stream.content, pixels)
    if stream.kind == LOSSLESS:
        check_coded_data(stream.segments, stream.precision, pixels)
    values: NDArray[np.int32] = pixels.astype(np.int32)
    # A stream of fewer bits than the stored ones has no room for the sign.
    if signed and stream.precision >= bits:
        sign = np.int32(2 ** (stream.precision - 1))
        values = (values ^ sign) - sign
    return values


def _parse_stream(frame: bytes) -> _Stream:
    if not frame.startswith(START):
        raise damaged("the compressed pixels do not begin as JPEG")
    kind = _kind(frame)
    segments = [
        # Behind coded data more bytes of ones than the marker's only fill.
        (marker, segment.rstrip(b"\xff") if marker == SCAN else segment)
        for marker, segment in walk_segments(frame, IN_LS_SCAN if kind == LS else IN_SCAN)
        if marker not in DROPPED
    ]
    header = [segment for marker, segment in segments if marker in HEADERS]
    scans = sum(marker == SCAN for marker, _ in segments)
    if len(header) != 1 or not scans:
        raise damaged("has no picture, or several")
    if scans > (1 if kind in (LOSSLESS, LS) else MAX_SCANS):
        raise damaged(f"has {scans} scans")
    return _Stream(kind, *_described(header[0]), segments)


def _kind(frame: bytes) -> int:
    """The coding, by the first frame header; nothing beyond it is looked at."""
    for marker, _ in walk_segments(frame):
        if marker in (*READABLE, LOSSLESS, LS):
            return marker
        if marker in HEADERS:
            raise UnreadableError(
                "mode",
                f"is JPEG of the kind {marker:X}, expected baseline, extended, progressive, "
                "lossless (C3) or JPEG-LS (F7), Huffman-coded; export it uncompressed",
            )
        if marker == SCAN:
            break
    raise damaged("has no picture")


def _described(header: bytes) -> tuple[int, int, int]:
    """Precision, rows and columns of a frame header."""
    if len(header) < 13:
        raise damaged("the JPEG frame header is too short")
    kind = header[1]
    precision, rows, columns, channels = struct.unpack_from(">BHHB", header, 4)
    possible = range(2, 17) if kind in (LOSSLESS, LS) else (8, 12)
    if channels != 1 or precision not in possible or not (rows and columns):
        raise damaged(
            f"compressed pixels are {columns}x{rows} of {channels} channels and {precision} bits"
        )
    return precision, rows, columns
