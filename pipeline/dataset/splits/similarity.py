"""Finding radiographs that show the same picture: a perceptual hash and the search for near ones.

The hash takes the signs of the spectral residual: the logarithm of the picture's amplitude spectrum
less its own local average (Hou & Zhang 2007, "Saliency detection: a spectral residual approach",
CVPR). A shift of the picture changes only the phases, which is why amplitudes make hashes that hold
under small shifts and crops (Swaminathan, Mao & Wu 2006, "Robust and secure image hashing", IEEE
Trans. Information Forensics and Security 1:215-230). What it tells apart, against other hashes:
docs/near_duplicates.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey

SIDE = 64
"""The picture is averaged to SIDE x SIDE cells, whatever its own size and shape."""
HIGHEST = 16
"""Frequencies above 1 and up to this many periods per picture are in the hash."""
SMOOTHING = 2.0
"""Standard deviation of the local average, in frequencies."""
REACH = 8
"""Frequencies beyond HIGHEST that the local average looks at: four standard deviations."""
FLAT = 1e-9
"""A residual up to this is a 0, so that rounding decides nothing on an even picture."""
BLOCK = 2048
"""Radiographs compared at once: 17 MB of distances."""

_TAPER = np.outer(np.hanning(SIDE + 2)[1:-1], np.hanning(SIDE + 2)[1:-1])
_CENTRE = slice(SIDE // 2 - HIGHEST - REACH, SIDE // 2 + HIGHEST + REACH + 1)


def _in_hash() -> NDArray[np.bool_]:
    """Which frequencies count: half of a disc, because those of -f are those of f."""
    down, across = np.mgrid[-HIGHEST : HIGHEST + 1, -HIGHEST : HIGHEST + 1]
    distance = np.hypot(down, across)
    half = (down > 0) | ((down == 0) & (across > 0))
    return np.asarray(half & (distance > 1) & (distance <= HIGHEST), np.bool_)


_IN_HASH = np.pad(_in_hash(), REACH)
HASH_BITS = int(_IN_HASH.sum())


def perceptual_hash(image: Grey) -> str:
    """Hash of what a radiograph, uint8 (H, W), looks like: 100 lower-case hexadecimal digits.

    Pictures that differ in encoding, size, brightness, contrast, sign, or by a small shift or crop
    get hashes that differ in few of the 396 bits. Means and transform are of floating point:
    between kinds of processors a bit can differ if a mean is a tie to six digits.
    """
    means = cv2.resize(image.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    # To a sixteenth of a grey level: what float32 sums lose, differently on different processors,
    # is less than that.
    cells = np.rint(means * 16).astype(np.float64) / 16
    tapered = (cells - cells.mean()) * _TAPER
    spectrum = np.fft.fftshift(np.fft.fft2(tapered))[_CENTRE, _CENTRE]
    level = np.log1p(np.abs(spectrum))
    residual = level - cv2.GaussianBlur(level, (0, 0), SMOOTHING)
    return np.packbits(residual[_IN_HASH] > FLAT).tobytes().hex()


def near_duplicates(hashes: Sequence[str], distance: int) -> NDArray[np.int64]:
    """Return every pair whose hashes differ in at most `distance` bits: (pairs, 2), i < j, sorted.

    Takes one hash or more, all of one length, which is a multiple of two digits.
    Compares all pairs, block by block: two vectors of -1 and 1 have a product that falls by 2 with
    every bit that differs, and products of matrices are what processors do fastest. The sums are of
    small whole numbers, so they are exact. (Indexing bands of the hash would not help: at a
    distance of a sixth of all bits, no band of a useful width must agree.)
    """
    signs = _signs(hashes)
    least = signs.shape[1] - 2 * distance
    starts = range(0, len(hashes), BLOCK)
    found = [
        _pairs_of_blocks(signs, first, second, least)
        for first in starts
        for second in starts
        if first <= second
    ]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *found])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """The bits of each hash as -1 and 1, (hashes, bits)."""
    octets = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8)
    bits = np.unpackbits(octets.reshape(len(hashes), -1), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _pairs_of_blocks(
    signs: NDArray[np.float32],
    first: int,
    second: int,
    least: int,
) -> NDArray[np.int64]:
    """The pairs (i, j), i < j, of the blocks from `first` and `second` with enough in common."""
    products = signs[first : first + BLOCK] @ signs[second : second + BLOCK].T
    rows, columns = np.nonzero(products >= least)
    pairs = np.stack([rows + first, columns + second], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
