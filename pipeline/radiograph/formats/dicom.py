"""DICOM radiographs: the header that says what the pixels mean, and the pixels.

Only the elements in TAGS are ever read, none of them personal, and what pydicom says of a file is
kept out of logs and messages, because it quotes values. Source: DICOM PS3.3, C.7.6.3 and C.8.11.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.bits import Layout, is_exchanged, read_bits
from pipeline.radiograph.formats.deflated import inflated
from pipeline.radiograph.formats.dicom_display import DISPLAY_TAGS, photometric_of, read_display
from pipeline.radiograph.formats.display import Display
from pipeline.radiograph.formats.elements import missing, number, plain, text, whole_number
from pipeline.radiograph.formats.jpeg2000 import parse_codestream
from pipeline.radiograph.formats.jpeg_frames import decode_frame
from pipeline.radiograph.formats.stored import Stored, damaged, refuse_large
from pipeline.radiograph.formats.subject import SUBJECT_TAGS, judge_subject

TAGS = [
    *SUBJECT_TAGS,
    *DISPLAY_TAGS,
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "BurnedInAnnotation",
    "PixelData",
]
J2K = (
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
JPEG_FAMILY = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
)
SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    *JPEG_FAMILY,
    *J2K,
)
# What pydicom and its decoders raise for elements and pixels that make no sense.
UNDECODABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Dicom:
    """A DICOM radiograph of good header, its pixels not decoded yet."""

    width: int
    height: int
    photometric: str
    layout: Layout
    display: Display
    notes: tuple[str, ...]
    header: Dataset

    def decode(self) -> Stored:
        """Decode the pixels into stored bits; raises UnreadableError."""
        with _guarded():
            decoded = self._decompressed()
        if decoded.shape != (self.height, self.width):
            raise damaged("the pixels are not those of the header")
        if self.height != self.width and is_exchanged(decoded):
            raise UnreadableError(
                "header", "Rows and Columns are exchanged in the header; export it again"
            )
        found = read_bits(decoded, self.layout)
        display = replace(self.display, bits=found.bits, signed=found.signed)
        mode = f"{self.photometric} {self.layout.bits} bit"
        return Stored(found.codes, mode, display, (*self.notes, *found.notes))

    def _decompressed(self) -> NDArray[Any]:
        syntax = self.header.file_meta.TransferSyntaxUID
        if syntax in JPEG_FAMILY:
            layout = self.layout
            return decode_frame(self._frame(), self.height, self.width, layout.bits, layout.signed)
        if syntax in J2K:
            return parse_codestream(self._frame(), self.width, self.height).decode()
        return _unpacked(self.header)

    def _frame(self) -> bytes:
        return get_frame(self.header.PixelData, 0, number_of_frames=1)


def _unpacked(header: Dataset) -> NDArray[Any]:
    """Pixels that are stored plainly or by run lengths."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Bits beyond the declared ones are to be seen, not to be dropped.
        pixels = pixel_array(header, raw=True, correct_unused_bits=False)
    if said and header.file_meta.TransferSyntaxUID == uid.RLELossless and _has_more_rows(header):
        raise damaged("the pixels are more than those of the header")
    return pixels


def _has_more_rows(header: Dataset) -> bool:
    """Whether run lengths go on where the picture should end, by more than a filling byte."""
    header.Rows += 1
    try:
        pixel_array(header, raw=True, correct_unused_bits=False)
    except ValueError:
        return False
    finally:
        header.Rows -= 1
    return True


def parse_dicom(content: bytes) -> Dicom:
    """Check a DICOM file's header, what it shows and its declared size; raises UnreadableError."""
    with _guarded():
        header = dcmread(io.BytesIO(inflated(content)), specific_tags=list(TAGS))
        syntax = header.file_meta.get("TransferSyntaxUID") or _plain_syntax(header)
        if syntax not in SYNTAXES:
            raise _other_syntax(uid.UID(syntax))
        if "PixelData" not in header:
            raise missing("PixelData", "export the picture itself")
        notes = [*judge_subject(header), *_judge_kind(header)]
        return _described(header, notes)


@contextmanager
def _guarded() -> Iterator[None]:
    """Let nothing of what pydicom warns, logs or raises out; it may quote personal values."""
    logger = logging.getLogger("pydicom")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UNDECODABLE:
        raise damaged("header or pixels cannot be decoded") from None
    finally:
        logger.disabled = disabled


def _other_syntax(syntax: uid.UID) -> UnreadableError:
    return UnreadableError(
        "mode",
        f"is encoded as {plain(syntax.name)}, expected uncompressed, deflated, RLE, JPEG, "
        "JPEG Lossless, JPEG-LS or JPEG 2000; export it so",
    )


def _plain_syntax(header: Dataset) -> uid.UID:
    """How a file that does not say so encodes what is not compressed."""
    if "PixelData" in header and header["PixelData"].is_undefined_length:
        raise missing("TransferSyntaxUID")
    implicit, little = header.original_encoding
    syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else syntax
    return header.file_meta.TransferSyntaxUID


def _judge_kind(header: Dataset) -> list[str]:
    """Raise UnreadableError for what is no single picture of one channel; notes on what is."""
    photometric = photometric_of(header)
    samples = whole_number(header, "SamplesPerPixel")
    if not photometric:
        raise missing("PhotometricInterpretation")
    if samples not in (None, 1) or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableError(
            "mode",
            f"is {photometric} of {samples or 'undeclared'} samples, expected one of MONOCHROME1 "
            "or MONOCHROME2; export the radiograph itself",
        )
    frames = number(header, "NumberOfFrames", 1)
    if frames not in (0, 1):
        raise UnreadableError(
            "mode", f"has {frames:g} frames, expected one; export the frames by themselves"
        )
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, photometric
    header.NumberOfFrames = 1
    notes = []
    if photometric == "MONOCHROME1":
        notes.append("MONOCHROME1, so it is inverted: bright is dense")
    if text(header, "BurnedInAnnotation") == "YES":
        notes.append("declares text burned into the picture; make sure that it names nobody")
    return notes


def _described(header: Dataset, notes: list[str]) -> Dicom:
    rows, columns = (_size(header, keyword) for keyword in ("Rows", "Columns"))
    layout = _layout(header, rows * columns, notes)
    decoded = rows * columns * layout.allocated // 8
    size, packed = len(header.PixelData), header.file_meta.TransferSyntaxUID.is_encapsulated
    refuse_large(columns, rows, decoded, size if packed else decoded)
    if not packed and size >= decoded + columns:
        raise damaged(f"header declares {decoded} bytes of pixels and {size} are there")
    display, said = read_display(header, layout.bits, layout.signed)
    photometric = photometric_of(header)
    return Dicom(columns, rows, photometric, layout, display, (*notes, *said), header)


def _size(header: Dataset, keyword: str) -> int:
    size = whole_number(header, keyword)
    if size is None:
        raise missing(keyword)
    if size <= 0:
        raise damaged(f"header declares {keyword} {size}")
    return size


def _layout(header: Dataset, pixels: int, notes: list[str]) -> Layout:
    """Where the values lie; what is missing follows from the rest, and is given to the header."""
    allocated, bits, high, signed = (
        whole_number(header, keyword)
        for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if allocated is None:
        allocated = _allocated(header, pixels, bits)
    if allocated not in (8, 16):
        raise UnreadableError(
            "bit_depth", f"allocates {allocated} bits to a pixel, expected 8 or 16; export it so"
        )
    if bits is None:
        bits = allocated if high is None else high + 1
    if not 1 <= bits <= allocated:
        notes.append(f"BitsStored is {bits} of {allocated}: taken as {allocated}")
        bits = allocated
    if high is not None and not bits <= high + 1 <= allocated:
        notes.append(f"HighBit is {high} for {bits} bits: taken as {bits - 1}")
        high = None
    if signed not in (0, 1):
        notes.append("PixelRepresentation is missing or unknown: taken as unsigned")
        signed = 0
    high = bits - 1 if high is None else high
    # The bits are cut out afterwards, of words as they are.
    header.BitsAllocated, header.BitsStored, header.HighBit = allocated, allocated, allocated - 1
    header.PixelRepresentation = 0
    return Layout(allocated, bits, high, bool(signed))


def _allocated(header: Dataset, pixels: int, bits: int | None) -> int:
    """Bits to a pixel, from the size of what is not compressed or from those stored."""
    if not header.file_meta.TransferSyntaxUID.is_encapsulated:
        return 8 * (len(header.PixelData) // pixels)
    if bits is None:
        raise missing("BitsAllocated")
    return 8 if bits <= 8 else 16
