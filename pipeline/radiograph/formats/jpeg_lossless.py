"""Whether the coded data of JPEG Lossless hold just the pixels that were decoded from them.

JPEG has no checksum, and its decoders fill up what is missing and go on behind what is damaged. But
from the pixels and the code table follows how long their coded data are: of data that were cut,
lengthened or changed a decoder reads more or fewer bits than that. Source: ITU-T T.81, annex H.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.formats.jpeg import SCAN
from pipeline.radiograph.formats.stored import damaged

Segments = list[tuple[int, bytes]]
Values = NDArray[np.int32]
PREDICTIONS: dict[int, Callable[[Values, Values, Values], Values]] = {
    1: lambda left, above, corner: left,
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above - corner) >> 1),
    6: lambda left, above, corner: above + ((left - corner) >> 1),
    7: lambda left, above, corner: (left + above) >> 1,
}
"""Of a pixel, from the three that came before it (table H.1)."""
TABLES, INTERVAL = 0xC4, 0xDD
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
PADDING = b"\x00\xff"
IMPOSSIBLE = 255 - 16
"""Bits of a code that the table does not have: more than any has; with the rest still a byte."""
BLOCK = 64
"""Rows at a time, so that what is worked out stays in the processor's cache."""


def check_coded_data(segments: Segments, precision: int, pixels: NDArray[Any]) -> None:
    """Raise UnreadableError unless these pixels, (H, W), fill the one scan of a lossless stream."""
    scan = next(segment for marker, segment in segments if marker == SCAN)
    table, predictor, shift = scan[6] >> 4, scan[7], scan[9] & 15
    start = 2 + int.from_bytes(scan[2:4])
    height, width = pixels.shape
    rows = _restart_interval(segments) // width or height
    expected = -(-height // rows)
    intervals = RESTART.split(scan[start:], maxsplit=expected)
    if len(intervals) != expected:
        raise damaged("has more or fewer restarts than pixels")
    costs = _costs(segments, table)
    shifted, initial = pixels >> shift, 1 << (precision - shift - 1)
    for number, coded in enumerate(intervals):
        part = shifted[number * rows : (number + 1) * rows]
        bits = sum(int(costs.take(d).sum()) for d in _differences(part, predictor, initial))
        data = coded.replace(b"\xff\x00", b"\xff")
        if bits > 8 * len(data) or data[-(-bits // 8) :].strip(PADDING):
            raise damaged("the coded data are longer or shorter than the pixels")


def _restart_interval(segments: Segments) -> int:
    """Pixels between two restarts, 0 for none."""
    found = [segment[4:6] for marker, segment in segments if marker == INTERVAL]
    return int.from_bytes(found[-1]) if found else 0


def _costs(segments: Segments, table: int) -> NDArray[np.uint8]:
    """The bits that each difference modulo 2**16 takes, its code's and its own."""
    lengths = np.full(17, IMPOSSIBLE, np.uint8)
    for marker, segment in segments:
        if marker == TABLES:
            for number, of_category in _code_lengths(segment[4:]):
                if number == table:
                    lengths = of_category
    magnitudes = np.minimum(np.arange(2**16), np.arange(2**16, 0, -1))
    categories = np.frexp(magnitudes)[1]
    # The largest difference is the only one of its category, and has no bits of its own.
    return lengths[categories] + np.where(categories < 16, categories, 0).astype(np.uint8)


def _code_lengths(tables: bytes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each table's number, and the length of the code of each category from 0 to 16."""
    while len(tables) >= 17:
        number, counts = tables[0], tables[1:17]
        end = 17 + sum(counts)
        lengths = np.full(17, IMPOSSIBLE, np.uint8)
        of_codes = np.repeat(np.arange(1, 17), list(counts))
        for category, length in zip(tables[17:end], of_codes, strict=False):
            if category <= 16:
                lengths[category] = length
        yield number, lengths
        tables = tables[end:]


def _differences(
    pixels: NDArray[Any], predictor: int, initial: int
) -> Iterator[NDArray[np.uint16]]:
    """Yield what was coded of the pixels between two restarts, modulo 2**16."""
    yield np.diff(pixels[0].astype(np.int32), prepend=initial).astype(np.uint16)
    for start in range(1, len(pixels), BLOCK):
        block = pixels[start - 1 : start + BLOCK].astype(np.int32)
        above, left, corner = block[:-1, 1:], block[1:, :-1], block[:-1, :-1]
        yield (block[1:, 0] - block[:-1, 0]).astype(np.uint16)
        yield (block[1:, 1:] - PREDICTIONS[predictor](left, above, corner)).astype(np.uint16)
