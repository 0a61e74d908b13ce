"""What a file declares of how its stored values become shades: unit, tables, windows.

Source: DICOM PS3.3, C.11.1 (modality) and C.11.2 (values of interest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Lookup:
    """A table from whole values, the first of them `first`, to entries from `low` to `top`."""

    first: int
    """Of 16 bits, whose sign the file leaves open: -1024 or 64512."""
    entries: NDArray[np.int64]
    low: int
    """The entry that is black, or the lowest of the unit."""
    top: int
    """The entry that is white."""
    note: str = ""

    def map(self, values: Values) -> Values:
        """Look every value up; those beyond the table get its first or last entry."""
        places = np.rint(values - self._first(values)).clip(0, len(self.entries) - 1)
        return self.entries[places.astype(np.int64)].astype(np.float64)

    def show(self, values: Values) -> tuple[Values, NDArray[np.bool_]]:
        """The brightness of every value, 0 to 1, and which of them lie beyond the table."""
        places = np.rint(values - self._first(values))
        beyond = (places < 0) | (places >= len(self.entries))
        return (self.map(values) - self.low) / (self.top - self.low), beyond

    def _first(self, values: Values) -> int:
        """The first value with the sign by which the table covers most of the values."""
        low, high = float(values.min()), float(values.max())

        def covered(first: int) -> float:
            return min(high, first + len(self.entries) - 1) - max(low, first)

        return max((self.first, self.first - 2**16, self.first + 2**16), key=covered)


@dataclass(frozen=True)
class Window:
    """The values shown between black and white; of positive width, at least 1 if LINEAR."""

    centre: float
    width: float
    function: str = "LINEAR"
    note: str = ""

    def show(self, values: Values) -> tuple[Values, NDArray[np.bool_]]:
        """The brightness of every value, 0 to 1, and which are beyond (C.11.2.1.2, C.11.2.1.3)."""
        if self.function == "SIGMOID":
            # Beyond 700 the exponential overflows; the brightness is 0 or 1 long before.
            exponent = (-4 * (values - self.centre) / self.width).clip(-700, 700)
            return 1 / (1 + np.exp(exponent)), np.abs(values - self.centre) > 2 * self.width
        if self.function == "LINEAR_EXACT":
            brightness = (values - self.centre) / self.width + 0.5
        elif self.width == 1:
            brightness = (values > self.centre - 0.5).astype(np.float64)
        else:
            brightness = (values - (self.centre - 0.5)) / (self.width - 1) + 0.5
        return brightness.clip(0, 1), (brightness < 0) | (brightness > 1)


@dataclass(frozen=True)
class Display:
    """What a file declares of how its stored values become shades."""

    bits: int
    signed: bool = False
    inverted: bool = False
    modality: Lookup | None = None
    slope: float = 1
    intercept: float = 0
    ways: tuple[Lookup | Window, ...] = ()
    """Tables and windows, the one to prefer first."""
    padding: tuple[int, int] | None = None
    """The lowest and the highest code, as unsigned, that stands for no measurement."""

    def values(self, codes: NDArray[Any]) -> Values:
        """Codes, stored bits as unsigned numbers, in the unit that windows and tables are in."""
        stored = self.stored(codes)
        return self.modality.map(stored) if self.modality else stored * self.slope + self.intercept

    def stored(self, codes: NDArray[Any]) -> Values:
        """Codes as the numbers that they stand for."""
        return signed_values(codes, self.bits) if self.signed else codes.astype(np.float64)

    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value that the declared bits allow."""
        if self.modality is not None:
            return self.modality.low, self.modality.top
        ends = np.array(
            [2 ** (self.bits - 1) - 1, 2 ** (self.bits - 1)] if self.signed else [0, -1]
        )
        low, high = sorted(self.values(ends % 2**self.bits).tolist())
        return low, high


def signed_values(codes: NDArray[Any], bits: int) -> Values:
    """Codes of so many bits as numbers in two's complement."""
    return np.where(codes < 2 ** (bits - 1), codes, codes - 2.0**bits).astype(np.float64)
