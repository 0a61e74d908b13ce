"""What a DICOM header says of how stored values become shades: unit, tables, windows, polarity.

What cannot be used is left aside with a note, and the next thing that the header offers counts.
Source: DICOM PS3.3, C.11.1, C.11.2, C.8.11.3 and C.7.5.1.1.2.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.display import FUNCTIONS, Display, Lookup, Window
from pipeline.radiograph.formats.elements import number, numbers, text, whole_number, words_of
from pipeline.radiograph.formats.shades import SMALL_PART

DISPLAY_TAGS = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)
SHAPES = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}


def photometric_of(header: Dataset) -> str:
    """MONOCHROME1 or MONOCHROME2 as declared or as the shape tells; else what is there, or ""."""
    shape = text(header, "PresentationLUTShape")
    return text(header, "PhotometricInterpretation") or SHAPES.get(shape, "")


def read_display(header: Dataset, bits: int, signed: bool) -> tuple[Display, list[str]]:
    """How the values are to be shown, and what a person should know of it."""
    notes: list[str] = []
    photometric = photometric_of(header)
    slope = number(header, "RescaleSlope", 1)
    if slope == 0:
        slope = 1
        notes.append("RescaleSlope is 0, which makes all even: taken as 1")
    if text(header, "PixelIntensityRelationship") == "LIN":
        notes.append("PixelIntensityRelationship is LIN, as of raw data: look whether it is")
    tables = _tables(header, "ModalityLUTSequence", notes)
    inverted = photometric == "MONOCHROME1"
    notes += _contradictions(header, photometric, falling=slope < 0)
    display = Display(
        bits,
        signed,
        inverted,
        tables[0] if tables else None,
        slope,
        number(header, "RescaleIntercept", 0),
        (*_tables(header, "VOILUTSequence", notes), *_windows(header, notes)),
        _padding(header, bits),
    )
    return display, notes


def _contradictions(header: Dataset, photometric: str, *, falling: bool) -> list[str]:
    """Notes on a polarity that the header states twice, and differently."""
    shape, sign = text(header, "PresentationLUTShape"), header.get("PixelIntensityRelationshipSign")
    other = SHAPES.get(shape, photometric) != photometric
    notes = (
        [f"{photometric} and PresentationLUTShape {shape} contradict each other"] if other else []
    )
    # 1: more X-rays, a higher value. Behind a table or a falling rescale that says nothing.
    towards_bright = {"MONOCHROME1": -1, "MONOCHROME2": 1}.get(photometric)
    if sign == towards_bright and not falling and not header.get("VOILUTSequence"):
        notes.append(
            f"{photometric} and PixelIntensityRelationshipSign {sign} contradict each other"
        )
    return [f"{note}: the first is taken, so look whether bone is bright" for note in notes]


def _tables(header: Dataset, keyword: str, notes: list[str]) -> list[Lookup]:
    """The usable tables of one kind."""
    big_endian = header.file_meta.TransferSyntaxUID.is_little_endian is False
    found = []
    for item in header.get(keyword) or ():
        table = _table(item, big_endian)
        if isinstance(table, str):
            notes.append(f"a table of {keyword} is left aside: it {table}")
        else:
            found.append(table)
    return found


def _table(item: Dataset, big_endian: bool) -> Lookup | str:
    """A table, or what is wrong with it."""
    descriptor = words_of(item.get("LUTDescriptor", []), big_endian).tolist()
    data = item.get("LUTData")
    if len(descriptor) != 3 or data is None:
        return "has no LUTDescriptor or LUTData"
    length, first, depth = descriptor
    length = length or 2**16
    entries = _entries(data, length, depth, big_endian)
    if len(entries) < length:
        return f"has {len(entries)} of {length} entries"
    low, top = int(entries.min()), int(entries.max())
    if low == top:
        return "has equal entries"
    declared = 2**depth - 1 if depth <= 16 else 0
    if top <= declared and top - low >= SMALL_PART * declared:
        return Lookup(first, entries, 0, declared)
    note = f"table of {depth} bits has entries from {low} to {top}, which are taken for its range"
    return Lookup(first, entries, low, top, note)


def _entries(
    data: bytes | int | list[int], length: int, depth: int, big_endian: bool
) -> NDArray[np.int64]:
    """The entries, of a byte each only where their number and depth say so."""
    words = words_of(data, big_endian)
    if depth <= 8 and len(words) == (length + 1) // 2 < length:
        packed = data if isinstance(data, bytes) else words.astype("<u2").tobytes()
        octets = np.frombuffer(packed, np.uint8)
        if octets[1::2].any():
            return octets[:length].astype(np.int64)
    return words[:length].astype(np.int64)


def _windows(header: Dataset, notes: list[str]) -> list[Window]:
    """The usable windows."""
    try:
        centres, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    except UnreadableError as error:
        notes.append(f"the windows are left aside: {str(error).partition(';')[0]}")
        return []
    function = text(header, "VOILUTFunction") or "LINEAR"
    note = ""
    if function not in FUNCTIONS and (centres or widths):
        note = f"VOILUTFunction {function} is none: taken as LINEAR"
        function = "LINEAR"
    found = []
    for centre, width in zip_longest(centres, widths):
        if centre is None or width is None:
            notes.append("a window of which centre or width is missing is left aside")
        elif width < (1 if function == "LINEAR" else 0) or width == 0:
            notes.append(f"a window of width {width:g} is left aside")
        else:
            found.append(Window(centre, width, function, note))
    return found


def _padding(header: Dataset, bits: int) -> tuple[int, int] | None:
    """The codes that stand for no measurement, the lowest and the highest."""
    value = whole_number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole_number(header, "PixelPaddingRangeLimit")
    ends = [one % 2**bits for one in (value, value if limit is None else limit)]
    return min(ends), max(ends)
