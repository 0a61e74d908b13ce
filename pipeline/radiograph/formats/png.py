"""PNG files, walked chunk by chunk before anything is decoded.

The decoder is given a PNG built anew from the header, the palette and the inflated rows, so the
verdict does not depend on the decoder, and no EXIF block, ICC profile or text can turn the picture,
warn or expand. Source: Portable Network Graphics, third edition, W3C 2025.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import Display
from pipeline.radiograph.formats.stored import Stored, damaged, refuse_large

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000  # encoders write 8 kB or more to a chunk; walking these takes 0.1 s
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    COLOUR: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    COLOUR_ALPHA: (8, 16),
}
NAMES = {GREY: "L", COLOUR: "RGB", PALETTE: "P", GREY_ALPHA: "LA", COLOUR_ALPHA: "RGBA"}
# First column and row, step of columns and rows: of the one pass, and of Adam7's seven.
STRAIGHT = [(0, 0, 1, 1)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7 += [(0, 1, 1, 2)]
MAX_FILTER = 4


@dataclass(frozen=True)
class Png:
    """A PNG of good structure, its pixels still compressed."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: int
    palette: bytes
    opacity: bytes
    """Of the palette's entries."""
    significant: int
    """Bits per sample before the encoder stored it (sBIT), or the depth."""
    pixels: bytes

    @property
    def mode(self) -> str:
        """The mode as Pillow names it, with the depth where that differs."""
        named = {(GREY, 1): "1", (GREY, 16): "I;16"}.get((self.colour, self.depth))
        name = NAMES[self.colour]
        return named or (name if self.depth == 8 else f"{name};{self.depth}")

    @property
    def inflated(self) -> int:
        """Bytes of all rows."""
        return sum(rows * length for rows, length in self._passes)

    @property
    def _passes(self) -> list[tuple[int, int]]:
        """The number of rows and their bytes, the filter's included, of each pass."""
        bits = self.depth * CHANNELS[self.colour]
        sizes = [
            ((self.width - x + across - 1) // across, (self.height - y + down - 1) // down)
            for x, y, across, down in (ADAM7 if self.interlaced else STRAIGHT)
        ]
        return [(rows, 1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns]

    @property
    def _beyond(self) -> bytes:
        """The colour of indices beyond the palette, which has none like it; empty without such."""
        entries = len(self.palette) // 3
        if self.colour != PALETTE or entries == 2**self.depth:
            return b""
        known = {self.palette[3 * place : 3 * place + 3] for place in range(entries)}
        return next(
            one for one in (bytes((255, 0, blue)) for blue in range(256)) if one not in known
        )

    def decode(self) -> Stored:
        """Decode the pixels; raises UnreadableError."""
        rows = _inflate(self.pixels, self.inflated)
        levels = None
        if self._known_filters(rows):
            content = b"".join(self._plain_chunks(rows))
            levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if levels is None:
            raise damaged("rows are not filtered as PNG's are")
        if self._beyond and (levels[..., 2::-1] == list(self._beyond)).all(axis=-1).any():
            raise damaged("has pixels beyond its palette")
        return Stored(levels, self.mode, self._display(levels))

    def _display(self, levels: NDArray[Any]) -> Display | None:
        """PNG asks for levels stretched to 16 bits, beside which sBIT names the bits of before.

        Many exports name them and stretch nothing, and then nothing lies above them.
        """
        if levels.dtype == np.uint8:
            return None
        return Display(16 if int(levels.max()) >> self.significant else self.significant)

    def _known_filters(self, rows: bytes) -> bool:
        """Whether each row begins with one of PNG's filters; libpng would print its complaint."""
        start = 0
        for count, length in self._passes:
            end = start + count * length
            if max(rows[start:end:length], default=0) > MAX_FILTER:
                return False
            start = end
        return True

    def _plain_chunks(self, rows: bytes) -> Iterator[bytes]:
        yield SIGNATURE
        shape = (self.width, self.height, self.depth, self.colour, 0, 0, self.interlaced)
        yield _chunk(b"IHDR", struct.pack(">IIBBBBB", *shape))
        if self.colour == PALETTE:
            missing = 2**self.depth - len(self.palette) // 3
            yield _chunk(b"PLTE", self.palette + self._beyond * missing)
            if self.opacity:
                yield _chunk(b"tRNS", self.opacity)
        yield _chunk(b"IDAT", zlib.compress(rows, 0))  # 0: stored, not compressed again
        yield _chunk(b"IEND", b"")


def parse_png(content: bytes) -> Png:
    """Check a PNG's structure, checksums and declared size; raises UnreadableError."""
    chunks, pixels = _collect(content)
    png = _described(chunks, pixels)
    refuse_large(png.width, png.height, png.inflated, len(pixels))
    if int.from_bytes(chunks.get(b"acTL", b"")[:4]) > 1:
        raise UnreadableError("mode", "is an animation, expected one picture; export one frame")
    if png.colour in (GREY, COLOUR) and b"tRNS" in chunks:
        raise UnreadableError("mode", "declares a value transparent; export it without")
    return png


def _collect(content: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return the chunks by name, and the compressed pixels."""
    chunks: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    previous = b""
    for name, body in _walk(content):
        if not previous and name != b"IHDR":
            raise damaged("the first chunk is not the header")
        if name == b"IDAT":
            if pixels and previous != b"IDAT":
                raise damaged("other chunks lie between the pixels")
            pixels.append(body)
        elif name in CRITICAL and (name in chunks or pixels):
            raise damaged(f"chunk {name.decode()} is out of place")
        else:
            chunks.setdefault(name, bytes(body))
        previous = name
    if not pixels:
        raise damaged("has no pixels")
    return chunks, b"".join(pixels)


def _walk(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each chunk before IEND with its content; what follows IEND is ignored."""
    view = memoryview(content)
    place = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if place + 12 > len(view):
            raise damaged("ends before its last chunk")
        length, name = struct.unpack_from(">I4s", view, place)
        end = place + 8 + length
        if end + 4 > len(view):
            raise damaged("ends within a chunk")
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise damaged("a chunk's checksum is wrong")
        if name == b"IEND":
            return
        if not name[0] & 0x20 and name not in CRITICAL:
            raise damaged("has a chunk that PNG does not know")
        yield name, view[place + 8 : end]
        place = end + 4
    raise UnreadableError("too_large", f"has more than {MAX_CHUNKS} chunks; export it again")


def _described(chunks: dict[bytes, bytes], pixels: bytes) -> Png:
    header = chunks[b"IHDR"]
    if len(header) != 13:
        raise damaged("the header has another length than 13")
    width, height, depth, colour, compression, filtering, interlaced = struct.unpack(
        ">IIBBBBB", header
    )
    if not (width and height) or depth not in DEPTHS.get(colour, ()):
        raise damaged(f"header declares {width}x{height}, depth {depth}, colour type {colour}")
    if compression or filtering or interlaced > 1:
        raise damaged("header declares an unknown method")
    palette, opacity = chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")
    if colour == PALETTE and not (_is_palette(palette, depth) and len(opacity) <= 2**depth):
        raise damaged("has no palette that fits")
    significant = chunks.get(b"sBIT", b"")[:1]
    bits = significant[0] if significant and 0 < significant[0] <= depth else depth
    return Png(width, height, depth, colour, interlaced, palette, opacity, bits, pixels)


def _is_palette(palette: bytes, depth: int) -> bool:
    return 0 < len(palette) <= 3 * 2**depth and len(palette) % 3 == 0


def _inflate(pixels: bytes, size: int) -> bytes:
    """Inflate exactly `size` bytes; nothing beyond that is ever expanded."""
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(pixels, size + 1)
    except zlib.error:
        raise damaged("the pixels cannot be decompressed") from None
    if len(rows) != size or not stream.eof:
        raise damaged("has more or fewer pixels than its header declares")
    return rows


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum)))
