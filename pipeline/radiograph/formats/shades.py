"""From stored values to shades of grey: the one place for DICOM, 16-bit PNG and JPEG.

What a header says of the values (unit, windows, tables) is tried in its order and judged by what
it makes of the values that are there; what fails is left aside, with a note. Stored values have 16
bits at most, so each transformation is worked out once per value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import Display, Lookup, Values, Window
from pipeline.radiograph.grey import Grey

TAIL = 0.005
"""Of the pixels, the share at each end that does not count: markers, dead pixels."""
SMALL_PART = 0.5
"""Without a window, values within less of the declared range are spread. Of 710 public radiographs
of 8 bits 99.5 % use more."""
MIN_PART = 0.25
"""A window or table that shows the values in less of the range from black to white is wrong."""
MAX_CLIPPED = 0.8
"""So is one beyond which more of the pixels lie: wide collimation leaves a third of the picture."""
MIN_SHADES = 16
"""So is one that leaves fewer shades of more values."""
ROWS = 64
"""So many rows, spread over the picture, tell whether it is noise."""
NOISE = 1.5
"""Neighbours differ by twice the variance in pure noise, by 0.1 of it in a radiograph."""


@dataclass(frozen=True)
class _Tally:
    """The values of a picture, each once, and how many pixels have it."""

    values: Values
    pixels: NDArray[np.int64]

    def bulk(self, of: Values) -> tuple[float, float]:
        """Between what all but the tails lie, of numbers that belong to the values."""
        order = np.argsort(of)
        below = np.cumsum(self.pixels[order])
        ends = np.searchsorted(below, [TAIL * below[-1], (1 - TAIL) * below[-1]])
        low, high = of[order[ends.clip(0, len(order) - 1)]]
        return float(low), float(high)


def to_grey(codes: NDArray[Any], display: Display) -> tuple[Grey, tuple[str, ...]]:
    """The shades, uint8 (H, W), of stored bits as unsigned numbers, and what a person should know.

    Raises UnreadableError when the values make no picture.
    """
    counts = np.bincount(codes.ravel(), minlength=2**display.bits)
    used = np.flatnonzero(counts)
    seen = _without_padding(counts[used], used, display.padding)
    notes = []
    if table := display.modality:
        stored = display.stored(used)
        if fault := _fault(_Tally(stored, seen), *table.show(stored)):
            notes.append(f"modality table is left aside: it {fault}")
            display = replace(display, modality=None)
    with np.errstate(all="ignore"):
        values = display.values(used)
        low, high = display.limits()
    if not np.isfinite([*values, low, high]).all() or not low < high:
        raise UnreadableError("mode", "its rescale leaves no values apart; export it anew")
    tally = _Tally(values, seen)
    brightness, said = _by_header(tally, display.ways)
    notes += said
    spread = False
    if brightness is None:
        brightness, said = _by_range(tally, low, high)
        spread = bool(said)
        notes += said
    shades = np.zeros(2**display.bits, np.uint8)
    shades[used] = np.rint(255 * (1 - brightness if display.inverted else brightness))
    image = np.take(shades, codes)
    if _is_noise(image):
        if spread:
            raise UnreadableError(
                "constant", "values vary as noise does, expected a radiograph; export it again"
            )
        notes.append("values vary from pixel to pixel as noise does: look whether it is a picture")
    return image, tuple(notes)


def judge_shades(image: Grey) -> tuple[str, ...]:
    """What a person should know of a picture, uint8 (H, W), whose file holds shades already."""
    counts = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    used = np.flatnonzero(counts)
    low, high = _Tally(used.astype(np.float64), counts[used]).bulk(used / 255)
    if high - low >= MIN_PART and len(used) >= MIN_SHADES:
        return ()
    return (f"holds {len(used)} shades in {high - low:.0%} of the range from black to white",)


def _without_padding(
    counts: NDArray[np.int64], codes: NDArray[np.int64], padding: tuple[int, int] | None
) -> NDArray[np.int64]:
    """Leave out pixels that stand for no measurement, unless hardly any others are there."""
    if padding is None:
        return counts
    kept = np.where((codes < padding[0]) | (codes > padding[1]), counts, 0)
    return kept if kept.sum() >= (1 - MAX_CLIPPED) * counts.sum() else counts


def _by_header(tally: _Tally, ways: tuple[Lookup | Window, ...]) -> tuple[Values | None, list[str]]:
    """The brightness that the first usable table or window gives; None when none is."""
    notes: list[str] = []
    for way in ways:
        with np.errstate(all="ignore"):
            brightness, beyond = way.show(tally.values)
        name = "table" if isinstance(way, Lookup) else f"window {way.centre:g}/{way.width:g}"
        fault = _fault(tally, brightness, beyond)
        if not fault and (part := _part(tally, brightness)) < MIN_PART:
            fault = f"shows the values in {part:.0%} of the range from black to white"
        if not fault:
            oddity = _oddity(tally, brightness, beyond)
            return brightness, [*notes, *filter(None, [way.note, oddity and f"{name} {oddity}"])]
        notes.append(f"{name} is left aside: it {fault}")
    return None, notes


def _fault(tally: _Tally, brightness: Values, beyond: NDArray[np.bool_]) -> str:
    """Why a window or table is wrong for these values; empty when it can be right."""
    if (clipped := _clipped(tally, beyond)) > MAX_CLIPPED:
        return f"has {clipped:.0%} of the pixels beyond its ends"
    shades = len(np.unique(np.rint(255 * brightness[tally.pixels > 0])))
    if shades < min(MIN_SHADES, len(tally.values)):
        return f"leaves {shades} shades of {len(tally.values)} values"
    return ""


def _oddity(tally: _Tally, brightness: Values, beyond: NDArray[np.bool_]) -> str:
    """What a person should know of a window or table that is used; empty when it is ordinary."""
    if (clipped := _clipped(tally, beyond)) > SMALL_PART:
        return f"has {clipped:.0%} of the pixels beyond its ends"
    if (part := _part(tally, brightness)) < SMALL_PART:
        return f"shows the values in {part:.0%} of the range from black to white"
    return ""


def _clipped(tally: _Tally, beyond: NDArray[np.bool_]) -> float:
    return float(tally.pixels[beyond].sum() / tally.pixels.sum())


def _part(tally: _Tally, brightness: Values) -> float:
    low, high = tally.bulk(brightness)
    return high - low


def _by_range(tally: _Tally, low: float, high: float) -> tuple[Values, list[str]]:
    """The brightness by the declared range, or spread from what is there with a note."""
    values = tally.values
    least, most = tally.bulk(values)
    if most - least >= SMALL_PART * (high - low):
        return ((values - low) / (high - low)).clip(0, 1), []
    kept = values[tally.pixels > 0]
    # The ends themselves, unless they are a few pixels far away, as a marker's are.
    if kept.max() - kept.min() <= (most - least) / SMALL_PART:
        least, most = float(kept.min()), float(kept.max())
    if len(kept) < MIN_SHADES or not least < most:
        raise UnreadableError(
            "constant",
            f"holds {len(kept)} values from {kept.min():g} to {kept.max():g}, expected at least "
            f"{MIN_SHADES}; export it again",
        )
    share = (most - least) / (high - low)
    note = (
        f"no usable window, and values {least:g} to {most:g} are {share:.0%} of the declared range "
        f"{low:g} to {high:g}: spread from black to white"
    )
    return ((values - least) / (most - least)).clip(0, 1), [note]


def _is_noise(image: Grey) -> bool:
    """Whether it is an empty detector's noise, or bytes that are no picture."""
    levels = image[:: max(1, len(image) // ROWS)].astype(np.float32)
    return bool(np.diff(levels, axis=1).var() > NOISE * levels.var())
