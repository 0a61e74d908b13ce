"""From decoded words to stored bits: which bits of a word are the value, and whether it is signed.

The header says; where the words tell that it is wrong, they count. A wrong bit or sign tears a
picture: black lies next to white along lines, as it hardly ever does in a radiograph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.formats.display import signed_values

JUMP = 0.9
"""Neighbours that differ by more of the range lie on a tear."""
TORN = 0.5
"""Tears in a row of the picture. Of 718 public radiographs none has more than 0.2; read with the
wrong sign half have 5, and 717 are found by this and the next."""
WORSE = 4
"""So many times the tears of another reading."""
ROWS = 64
"""So many rows, spread over the picture, tell."""
EXCHANGED = 0.5
"""Rows as columns, when neighbours in columns then differ by less of what they do as declared."""


@dataclass(frozen=True)
class Layout:
    """Where the value lies in a word of 8 or 16 bits, as a header declares it."""

    allocated: int
    bits: int
    high: int
    """The highest bit of the value; the lowest is high + 1 - bits."""
    signed: bool


@dataclass(frozen=True)
class Codes:
    """Stored bits as unsigned numbers."""

    codes: NDArray[np.uint16]
    bits: int
    signed: bool
    notes: tuple[str, ...]


def read_bits(decoded: NDArray[Any], layout: Layout) -> Codes:
    """Cut the stored bits out of decoded whole numbers (H, W) of any type."""
    words = decoded.astype(np.uint16)
    if layout.allocated < 16:
        words &= np.uint16(2**layout.allocated - 1)
    words, notes = _shifted(words, layout)
    best = declared = (layout.bits, layout.signed)
    others = list(_other_readings(words, layout))
    if others:
        sample = words[:: max(1, len(words) // ROWS)]
        torn = _tears(sample, *declared)
        for other in others if torn >= TORN else ():
            if WORSE * (tears := _tears(sample, *other)) < torn:
                best, torn = other, tears * WORSE
    bits, signed = best
    if best != declared:
        notes.append(f"{_named(*declared)} declared and {_named(*best)} found, which are taken")
    elif not _fits(words, bits, signed):
        notes.append(f"bits above the lowest {bits} are left out")
    codes = words & np.uint16(2**bits - 1) if int(words.max()) >> bits else words
    return Codes(codes, bits, signed, tuple(notes))


def _shifted(words: NDArray[np.uint16], layout: Layout) -> tuple[NDArray[np.uint16], list[str]]:
    """The words with the value in the lowest bits."""
    shift = layout.high + 1 - layout.bits
    if not shift:
        return words, []
    below = bool((words & np.uint16(2**shift - 1)).any())
    if below and _fits(words, layout.bits, layout.signed):
        return words, [f"HighBit {layout.high} declared and the lowest bits used, which are taken"]
    note = [f"bits below the lowest of {layout.bits} are left out"] if below else []
    return words >> np.uint16(shift), note


def _fits(words: NDArray[np.uint16], bits: int, signed: bool) -> bool:
    """Whether the bits above the stored ones are empty or repeat the sign."""
    if int(words.max()) >> bits == 0:
        return True
    above = words >> np.uint16(bits)
    sign = (words >> np.uint16(bits - 1)) & np.uint16(1)
    extended = np.where(sign, above.max(), 0)
    return signed and int(above.max() + 1).bit_count() == 1 and bool((above == extended).all())


def _other_readings(words: NDArray[np.uint16], layout: Layout) -> Iterator[tuple[int, bool]]:
    """Other bits and signs that the words allow."""
    used = int(words.max()).bit_length()
    if used >= layout.bits:
        yield layout.bits, not layout.signed
    elif layout.signed and used:
        yield used, True
    if not _fits(words, layout.bits, layout.signed):
        yield used, False
        yield used, True


def _tears(words: NDArray[np.uint16], bits: int, signed: bool) -> float:
    """How many neighbours in a row of the picture are as far apart as black and white."""
    codes = words & np.uint16(2**bits - 1)
    values = signed_values(codes, bits) if signed else codes.astype(np.float64)
    jumps = np.abs(np.diff(values, axis=1)) >= JUMP * max(np.ptp(values), 1)
    return float(jumps.sum() / len(values))


def is_exchanged(words: NDArray[Any]) -> bool:
    """Whether the words (H, W) are a picture only with Rows and Columns exchanged."""
    declared, other = (
        float(np.abs(np.diff(picture[:, ::4].astype(np.int32), axis=0)).mean())
        for picture in (words, words.reshape(words.shape[::-1]))
    )
    return other < EXCHANGED * declared


def _named(bits: int, signed: bool) -> str:
    return f"{bits} {'signed' if signed else 'unsigned'} bits"
