"""JPEG Lossless and JPEG-LS streams, as encoders write them and as no public encoder does."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from imagecodecs import jpeg8_encode, jpegls_encode
from numpy.typing import NDArray

CODE = 5
"""Bits of every category's code: 17 of them have room, and none is all ones."""


def graded(bits: int, signed: bool = False) -> NDArray[Any]:
    """Values (64, 72) over all that the bits can hold, smooth as radiographs are."""
    rows, columns = np.mgrid[:64, :72]
    grade = rows * columns + 3 * columns + 2 * rows
    values = grade * (2**bits - 1) // grade.max() - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def noisy(bits: int, seed: int = 1) -> NDArray[Any]:
    """Values (64, 72) that neighbours say nothing of."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (64, 72))
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def lossless(pixels: NDArray[Any], bits: int, predictor: int = 1) -> bytes:
    return bytes(jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits))


def extended(pixels: NDArray[Any], level: int = 98) -> bytes:
    """Lossy JPEG of 12 bits."""
    return bytes(jpeg8_encode(pixels, level, bitspersample=12))


def ls(pixels: NDArray[Any]) -> bytes:
    return bytes(jpegls_encode(pixels))


def lossless_by_hand(
    pixels: NDArray[Any], bits: int, predictor: int = 1, shift: int = 0, restart_rows: int = 0
) -> bytes:
    """JPEG Lossless with a point transform and restarts, by T.81's annex H, pixel by pixel."""
    height, width = pixels.shape
    rows = restart_rows or height
    shifted = (pixels >> shift).astype(int)
    parts = [
        _coded(shifted[start : start + rows], predictor, 1 << (bits - shift - 1))
        for start in range(0, height, rows)
    ]
    coded = parts[0] + b"".join(
        bytes([0xFF, 0xD0 + number % 8]) + part for number, part in enumerate(parts[1:])
    )
    table = bytes([0]) + bytes([0] * (CODE - 1) + [17] + [0] * (16 - CODE)) + bytes(range(17))
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xC3, struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0)),
            segment(0xC4, table),
            segment(0xDD, struct.pack(">H", restart_rows * width)) if restart_rows else b"",
            segment(0xDA, bytes([1, 1, 0, predictor, 0, shift])),
            coded,
            b"\xff\xd9",
        )
    )


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _coded(rows: NDArray[Any], predictor: int, initial: int) -> bytes:
    bits = []
    for (y, x), value in np.ndenumerate(rows):
        difference = (int(value) - _predicted(rows, y, x, predictor, initial)) % 2**16
        difference -= 2**16 if difference > 2**15 else 0
        size = abs(difference).bit_length()
        own = difference if difference > 0 else difference + 2**size - 1
        bits.append(f"{size:0{CODE}b}" + (f"{own:0{size}b}" if 0 < size < 16 else ""))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")


def _predicted(rows: NDArray[Any], y: int, x: int, predictor: int, initial: int) -> int:
    if not (x or y):
        return initial
    if not x:
        return int(rows[y - 1, x])
    left = int(rows[y, x - 1])
    if not y:
        return left
    above, corner = int(rows[y - 1, x]), int(rows[y - 1, x - 1])
    return (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )[predictor - 1]
