"""One picture written as DICOM in many ways: legal ones, and such that the standard forbids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.dataset.synthetic.phantom import radiograph
from tests.radiograph.containers import dicom
from tests.radiograph.jpeg_streams import lossless, ls

Dice = np.random.Generator
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
JPEG_FAMILY = [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless]
SYNTAXES = [
    *NATIVE,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    *JPEG_FAMILY,
    JPEG2000Lossless,
]


@cache
def picture() -> NDArray[np.uint8]:
    """A synthetic radiograph uint8 (96, 80) from 0 to 255."""
    image = cv2.resize(radiograph(1, 1, "Normal")[0], (80, 96), interpolation=cv2.INTER_AREA)
    levels = image.astype(float) - image.min()
    return np.rint(levels * (255 / levels.max())).astype(np.uint8)


@dataclass
class Way:
    """How one file says what its values mean."""

    dice: Dice
    bits: int
    signed: bool
    falling: bool
    """MONOCHROME1."""
    elements: dict[str, Any]

    @property
    def lowest(self) -> int:
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        return self.lowest + 2**self.bits - 1


def written(dice: Dice, shades: NDArray[np.uint8]) -> FileDataset:
    """A legal DICOM file that shows these shades, drawn by `dice`."""
    way = Way(dice, int(dice.integers(10, 17)), bool(dice.random() < 0.4), dice.random() < 0.3, {})
    if dice.random() < 0.2:
        way.bits = 8
    brightness = shades / 255
    show = SHOWN[dice.integers(len(SHOWN))]
    values = show(way, 1 - brightness if way.falling else brightness)
    stored = np.rint(values).astype(np.int64)
    assert way.lowest <= stored.min()
    assert stored.max() <= way.highest
    return _file(way, stored)


def full_range(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    return way.lowest + brightness * (way.highest - way.lowest)


def part_of_range(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    if way.bits < 11:
        return full_range(way, brightness)
    low = way.lowest + way.dice.uniform(0, 0.6) * 2**way.bits
    return np.rint(low) + brightness * np.rint(way.dice.uniform(0.13, 0.35) * 2**way.bits)


def rescaled(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    slope = float(way.dice.choice([0.5, 1, 2.25, -1, -0.125]))
    way.elements |= {"RescaleSlope": slope, "RescaleIntercept": int(way.dice.integers(-3000, 3000))}
    return full_range(way, brightness if slope > 0 else 1 - brightness)


def windowed(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    """Two windows, of which the first is meant, in the unit of a rescale."""
    slope, intercept = float(way.dice.choice([0.5, 1, 3])), int(way.dice.integers(-3000, 3000))
    room = 2**way.bits - 1
    span = room * (way.dice.uniform(0.3, 0.9) if way.bits > 9 else 1)
    low = way.lowest + way.dice.uniform(0, 1) * (room - span)
    function = str(way.dice.choice(["LINEAR", "LINEAR_EXACT", "SIGMOID", ""]))
    width, centre = span * slope, (low + span / 2) * slope + intercept
    if function == "SIGMOID" and way.bits > 11:
        width /= 4
        brightness = brightness.clip(0.0005, 0.9995)
        values = (centre - width / 4 * np.log(1 / brightness - 1) - intercept) / slope
        values = values.clip(way.lowest, way.highest)
    else:
        values = low + brightness * span
        function = function.replace("SIGMOID", "")
        if function != "LINEAR_EXACT":
            width, centre = width + 1, centre + 0.5
    way.elements |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    way.elements |= {"WindowCenter": [f"{centre:.6g}", "1"], "WindowWidth": [f"{width:.6g}", "2"]}
    if function:
        way.elements["VOILUTFunction"] = function
    return values


def tabled(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    """A table of the values of interest, behind an intercept that may make them negative."""
    intercept = int(way.dice.choice([0, 0, -1024, 500]))
    count, depth = min(2**way.bits, 30_000), int(way.dice.choice([8, 10, 12, 16]))
    first = way.lowest + int(way.dice.integers(0, 2**way.bits - count + 1))
    curve = (np.arange(count) / (count - 1)) ** 1.3
    entries = np.rint(curve * (2**depth - 1)).astype(int)
    way.elements |= {"RescaleIntercept": intercept, "RescaleSlope": 1}
    way.elements["VOILUTSequence"] = [table(way.dice, entries, first + intercept, depth)]
    return first + np.searchsorted(curve, brightness.clip(0, 1))


def unit_by_table(way: Way, brightness: NDArray[Any]) -> NDArray[Any]:
    """A table of the modality, and perhaps a window in its unit."""
    count, depth = min(2**way.bits, 30_000), int(way.dice.choice([10, 12, 16]))
    first = way.lowest
    curve = (np.arange(count) / (count - 1)) ** 0.8
    entries = np.rint(curve * (2**depth - 1)).astype(int)
    way.elements["ModalityLUTSequence"] = [table(way.dice, entries, first, depth)]
    if way.dice.random() < 0.5:
        way.elements |= {"WindowCenter": 2 ** (depth - 1), "WindowWidth": 2**depth}
    return first + np.searchsorted(curve, brightness.clip(0, 1))


SHOWN: list[Callable[[Way, NDArray[Any]], NDArray[Any]]] = [
    full_range,
    part_of_range,
    rescaled,
    windowed,
    windowed,
    tabled,
    tabled,
    unit_by_table,
]


def table(dice: Dice, entries: NDArray[Any], first: int, depth: int) -> Dataset:
    """A table whose elements have one of the representations that a writer may choose."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, depth])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    if depth == 8 and dice.random() < 0.5:
        item.add_new(
            "LUTData", "OW", entries.astype(np.uint8).tobytes() + b"\0" * (len(entries) % 2)
        )
    elif dice.random() < 0.5:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def _file(way: Way, stored: NDArray[np.int64]) -> FileDataset:
    """The values as a file, with bits that mean nothing where the standard lets them be."""
    dice, syntax = way.dice, SYNTAXES[way.dice.integers(len(SYNTAXES))]
    wide = way.bits > 8 or (syntax != RLELossless and dice.random() < 0.3)
    words = stored & (2**way.bits - 1)
    high = way.bits - 1
    room = (16 if wide else 8) - way.bits
    if room and syntax in NATIVE:
        kind = dice.integers(4)
        if kind == 0:
            words, high = words << room, high + room
        elif kind == 1 and not way.signed:
            words = words.copy()
            words[10:30, 20:60] |= 1 << (way.bits + room - 1)  # an overlay's plane
        elif kind == 2 and way.signed:
            words = stored & (2 ** (way.bits + room) - 1)  # the sign, repeated
    if syntax == JPEG2000Lossless and way.signed:
        words = stored
    pixels = words.astype(np.uint16 if wide else np.uint8)
    elements = way.elements | {"HighBit": high, "PixelRepresentation": int(way.signed)}
    elements["PhotometricInterpretation"] = "MONOCHROME1" if way.falling else "MONOCHROME2"
    return encoded_as(dicom(pixels, way.bits, **elements), pixels, way, syntax)


def encoded_as(dataset: FileDataset, pixels: NDArray[Any], way: Way, syntax: str) -> FileDataset:
    """The file in a transfer syntax."""
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax == JPEG2000Lossless:
        typed = pixels.astype(f"{'i' if way.signed else 'u'}{pixels.itemsize}")
        dataset.PixelData = encapsulate([encode_array(typed, bits_stored=way.bits)])
        dataset["PixelData"].is_undefined_length = True
    elif syntax in JPEG_FAMILY:
        dataset.PixelData = encapsulate([_jpeg_frame(pixels, way, syntax)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == ExplicitVRBigEndian:
        if pixels.itemsize == 2:
            dataset.PixelData = pixels.astype(">u2").tobytes()
        for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
            for item in dataset.get(keyword) or ():
                if isinstance(item.LUTData, bytes) and len(item.LUTData) > 2 * _count(item) - 2:
                    item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _jpeg_frame(pixels: NDArray[Any], way: Way, syntax: str) -> bytes:
    if syntax == JPEGLSLossless:
        return ls(pixels)
    predictor = 1 if syntax == JPEGLosslessSV1 else int(way.dice.integers(1, 8))
    return lossless(pixels, 8 * pixels.itemsize, predictor)


def _count(item: Dataset) -> int:
    return int(item.LUTDescriptor[0])


def broken(dice: Dice, dataset: FileDataset) -> FileDataset:
    """The same file with one to three things that the standard forbids."""
    for _ in range(dice.integers(1, 4)):
        FAULTS[dice.integers(len(FAULTS))](dice, dataset)
    return dataset


def _without(*keywords: str) -> Callable[[Dice, FileDataset], None]:
    def fault(dice: Dice, dataset: FileDataset) -> None:
        keyword = str(dice.choice(keywords))
        if keyword in dataset:
            del dataset[keyword]

    return fault


def _other(keyword: str, *values: Any) -> Callable[[Dice, FileDataset], None]:
    def fault(dice: Dice, dataset: FileDataset) -> None:
        setattr(dataset, keyword, values[dice.integers(len(values))])

    return fault


def _in_table(change: Callable[[Dice, Dataset], None]) -> Callable[[Dice, FileDataset], None]:
    def fault(dice: Dice, dataset: FileDataset) -> None:
        for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
            for item in dataset.get(keyword) or ():
                if "LUTData" in item and "LUTDescriptor" in item:
                    change(dice, item)

    return fault


def _short(dice: Dice, item: Dataset) -> None:
    keep = int(dice.integers(0, len(item.LUTData) // 2)) * 2
    item.LUTData = item.LUTData[:keep]


def _flat(dice: Dice, item: Dataset) -> None:
    item.add_new("LUTData", "US", [int(dice.integers(0, 256))] * _count(item))


def _deep(dice: Dice, item: Dataset) -> None:
    length, first, _ = item.LUTDescriptor
    item.LUTDescriptor = [length, first, int(dice.choice([0, 1, 17, 32, 255]))]


def _long(dice: Dice, item: Dataset) -> None:
    length, first, depth = item.LUTDescriptor
    item.LUTDescriptor = [min(length + int(dice.integers(2, 9000)), 32_767), first, depth]


def _cut_pixels(dice: Dice, dataset: FileDataset) -> None:
    if "PixelData" in dataset:
        data = dataset.PixelData
        dataset.PixelData = data[: int(dice.integers(0, len(data)) // 2 * 2)]


def _more_pixels(dice: Dice, dataset: FileDataset) -> None:
    if "PixelData" in dataset and dataset.file_meta.TransferSyntaxUID in NATIVE:
        dataset.PixelData += bytes(2 * int(dice.integers(96, 9000)))


def _exchanged(_dice: Dice, dataset: FileDataset) -> None:
    dataset.Rows, dataset.Columns = dataset.get("Columns", 1), dataset.get("Rows", 1)


FAULTS: list[Callable[[Dice, FileDataset], None]] = [
    _without("HighBit", "BitsStored", "BitsAllocated", "PixelRepresentation", "SamplesPerPixel"),
    _without("Rows", "Columns", "PhotometricInterpretation", "PixelData"),
    _without("WindowWidth", "WindowCenter"),
    _other("BitsStored", 0, 1, 4, 7, 9, 11, 13, 15, 17, 40, 65535),
    _other("HighBit", 0, 6, 10, 14, 16, 99),
    _other("BitsAllocated", 0, 1, 8, 12, 16, 24, 32, 64),
    _other("PixelRepresentation", 0, 1, 2, 9),
    _other("SamplesPerPixel", 0, 2, 3),
    _other("PhotometricInterpretation", "RGB", "MONOCHROME", "MONOCHROME3", "PALETTE COLOR"),
    _other("NumberOfFrames", 2, 60),
    _other("Rows", 0, 95, 97, 65535),
    _other("Columns", 0, 79, 81, 65535),
    _exchanged,
    _other("WindowWidth", 0, -300, "1e-9", "1e300", ["0", "-1"]),
    _other("WindowCenter", "1e300", "-70000", ["1e9", "1e9"]),
    _other("VOILUTFunction", "CURVED", "LOG", "LINEAR_"),
    _other("RescaleSlope", 0, "1e308", "1e-308"),
    _other("RescaleIntercept", "1e308", "-1e308"),
    _other("VOILUTSequence", [], [Dataset()]),
    _other("ModalityLUTSequence", [Dataset()]),
    _in_table(_short),
    _in_table(_flat),
    _in_table(_deep),
    _in_table(_long),
    _in_table(_without("LUTData", "LUTDescriptor")),  # type: ignore[arg-type]
    _cut_pixels,
    _more_pixels,
]
