"""From the values a DICOM file stores to shades of grey: modality, window or table, inversion.

Stored values have 16 bits at most, so each transformation is worked out once per possible value.
Source: DICOM PS3.3, C.11.1 (modality) and C.11.2 (values of interest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError

Values = NDArray[np.float64]
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Lookup:
    """A table from whole values, the first of them `first`, to entries of `depth` bits."""

    first: int
    entries: NDArray[Any]
    depth: int

    def map(self, values: Values) -> Values:
        """Look every value up; those beyond the table get its first or last entry."""
        places = np.rint(values - self.first).clip(0, len(self.entries) - 1)
        return self.entries[places.astype(np.int64)].astype(np.float64)

    @property
    def top(self) -> int:
        """The largest entry that the depth allows."""
        return int(2**self.depth - 1)


@dataclass(frozen=True)
class Window:
    """The values shown between black and white."""

    centre: float
    width: float
    function: str = "LINEAR"

    def map(self, values: Values) -> Values:
        """Return the brightness of every value, 0 to 1 (C.11.2.1.2 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            # Beyond 700 the exponential overflows; the brightness is 0 or 1 long before.
            exponent = (-4 * (values - self.centre) / self.width).clip(-700, 700)
            return np.asarray(1 / (1 + np.exp(exponent)))
        if self.function == "LINEAR_EXACT":
            return ((values - self.centre) / self.width + 0.5).clip(0, 1)
        middle, span = self.centre - 0.5, self.width - 1
        if span == 0:
            return (values > middle).astype(np.float64)
        return ((values - middle) / span + 0.5).clip(0, 1)


@dataclass(frozen=True)
class Display:
    """How stored values become shades."""

    bits: int
    signed: bool
    inverted: bool
    modality: Lookup | None
    slope: float
    intercept: float
    voi: Lookup | Window | None

    def shades(self) -> NDArray[np.uint8]:
        """Return the shade, 0 to 255, of each of the 2**bits codes that a pixel may hold."""
        codes = np.arange(2**self.bits, dtype=np.float64)
        values = np.where(codes < 2 ** (self.bits - 1), codes, codes - 2**self.bits)
        brightness = self._brightness(values if self.signed else codes)
        return np.rint(255 * (1 - brightness if self.inverted else brightness)).astype(np.uint8)

    def _brightness(self, stored: Values) -> Values:
        values, low, high = self._modality(stored)
        if isinstance(self.voi, Window):
            return self.voi.map(values)
        if self.voi is not None:
            return self.voi.map(values) / self.voi.top
        return (values - low) / (high - low)

    def _modality(self, stored: Values) -> tuple[Values, float, float]:
        """The values in the modality's unit, and the range of which they may take any part."""
        if self.modality is not None:
            return self.modality.map(stored), 0, self.modality.top
        values = stored * self.slope + self.intercept
        return values, float(values.min()), float(values.max())


def check_window(window: Window) -> Window:
    """Return the window, or raise UnreadableError for one that shows nothing."""
    narrowest = 1 if window.function == "LINEAR" else 0
    if window.function not in FUNCTIONS or window.width < narrowest or window.width == 0:
        raise UnreadableError(
            "mode",
            f"declares a window of width {window.width:g}, expected a positive one of the function "
            f"{', '.join(FUNCTIONS)}; export it with its window set",
        )
    return window


def check_lookup(table: Lookup) -> Lookup:
    """Return the table, or raise UnreadableError for one that does not fit its own depth."""
    if not 8 <= table.depth <= 16 or not len(table.entries) or table.entries.max() > table.top:
        raise UnreadableError(
            "bit_depth",
            f"declares a table of {len(table.entries)} entries of {table.depth} bits, which its "
            "entries do not fit; export it without a table",
        )
    return table
