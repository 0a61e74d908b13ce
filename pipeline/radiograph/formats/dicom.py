"""DICOM radiographs: the header that says what the pixels mean, and the pixels.

Only the elements in TAGS are ever read, none of them personal, and what pydicom says of a file is
kept out of logs and messages, because it quotes values. Source: DICOM PS3.3, C.7.6.3 and C.8.11.
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.deflated import inflated
from pipeline.radiograph.formats.jpeg2000 import parse_codestream
from pipeline.radiograph.formats.jpeg_frames import decode_frame
from pipeline.radiograph.formats.shades import Display, Lookup, Window, check_lookup, check_window
from pipeline.radiograph.formats.stored import LOW, Stored, damaged, refuse_large

TAGS = [
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "BurnedInAnnotation",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
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
    uid.RLELossless,
    *JPEG_FAMILY,
    *J2K,
)
MODALITIES = ("CR", "DX", "RG")
CHEST = re.compile("CHEST|THORAX|TORAX|LUNG")
FRONTAL = {"PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "POSTERO", "ANTERO"}
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
    display: Display
    burned_in: bool
    header: Dataset

    def decode(self) -> Stored:
        """Decode the pixels into shades, uint8; raises UnreadableError."""
        with _guarded():
            codes = self._codes()
        notes = []
        if self.display.inverted:
            notes.append("MONOCHROME1, so it is inverted: bright is dense")
        if self.burned_in:
            notes.append("declares text burned into the picture; make sure that it names nobody")
        mode = f"{self.photometric} {self.display.bits} bit"
        return Stored(self.display.shades()[codes], mode, 8, tuple(notes))

    def _codes(self) -> NDArray[np.int32]:
        """The stored bits of each pixel, as an unsigned number."""
        stored = self._decompressed()
        if stored.shape != (self.height, self.width):
            raise damaged("the pixels are not those of the header")
        bits, lowest, highest = self.display.bits, int(stored.min()), int(stored.max())
        if lowest < (-(2 ** (bits - 1)) if self.display.signed else 0) or highest >= 2**bits:
            raise UnreadableError(
                "bit_depth",
                f"holds values from {lowest} to {highest}, expected {bits} bits; export it again",
            )
        if bits == 16 and self.display.voi is None and lowest < highest < LOW:
            raise UnreadableError(
                "bit_depth",
                f"declares 16 bits without a window and uses values up to {highest}, expected the "
                "bits in use (BitsStored) or a window; export it with one",
            )
        codes: NDArray[np.int32] = stored.astype(np.int32) & np.int32(2**bits - 1)
        return codes

    def _decompressed(self) -> NDArray[Any]:
        syntax = self.header.file_meta.TransferSyntaxUID
        if syntax in JPEG_FAMILY:
            display = self.display
            return decode_frame(
                self._frame(), self.height, self.width, display.bits, display.signed
            )
        if syntax in J2K:
            return parse_codestream(self._frame(), self.width, self.height).decode()
        # Bits beyond the declared ones are to be seen, not to be dropped.
        return pixel_array(self.header, raw=True, correct_unused_bits=False)

    def _frame(self) -> bytes:
        return get_frame(self.header.PixelData, 0, number_of_frames=1)


def parse_dicom(content: bytes) -> Dicom:
    """Check a DICOM file's header, what it shows and its declared size; raises UnreadableError."""
    with _guarded():
        header = dcmread(io.BytesIO(inflated(content)), specific_tags=list(TAGS))
        syntax = header.file_meta.get("TransferSyntaxUID", "")
        if syntax not in SYNTAXES:
            raise _other_syntax(uid.UID(syntax))
        if "PixelData" not in header:
            raise damaged("has no pixels")
        _refuse_other_pictures(header)
        return _described(header)


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
        f"is encoded as {_plain(syntax.name)}, expected uncompressed, deflated, RLE, JPEG, "
        "JPEG Lossless, JPEG-LS or JPEG 2000; export it so",
    )


def _refuse_other_pictures(header: Dataset) -> None:
    photometric, samples = _text(header, "PhotometricInterpretation"), header.get("SamplesPerPixel")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableError(
            "mode",
            f"is {photometric or 'undeclared'} of {samples} samples, expected one of MONOCHROME1 "
            "or MONOCHROME2; export the radiograph itself",
        )
    frames = _number(header, "NumberOfFrames", 1)
    if frames != 1:
        raise UnreadableError(
            "mode", f"has {frames:g} frames, expected one; export the frames by themselves"
        )
    for keyword, accepted in (
        ("Modality", lambda text: text in MODALITIES),
        ("BodyPartExamined", CHEST.search),
        ("ViewPosition", lambda text: FRONTAL & set(re.split("[^A-Z]+", text))),
    ):
        text = _text(header, keyword)
        if text and not accepted(text):
            raise UnreadableError(
                "not_chest",
                f"{keyword} is {text}, expected a frontal chest radiograph (CR or DX, CHEST, PA or "
                "AP); take it out",
            )


def _described(header: Dataset) -> Dicom:
    rows, columns, allocated, bits, high, signed = (
        int(header[keyword].value)
        for keyword in (
            "Rows",
            "Columns",
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
        )
    )
    if allocated not in (8, 16) or not 1 <= bits <= allocated or high != bits - 1:
        raise UnreadableError(
            "bit_depth",
            f"stores {bits} bits up to bit {high} in {allocated}, expected at most 16, the lowest "
            "ones; export it so",
        )
    if not (rows and columns) or signed not in (0, 1):
        raise damaged(f"header declares {columns}x{rows} pixels of kind {signed}")
    decoded = rows * columns * allocated // 8
    packed = header.file_meta.TransferSyntaxUID.is_encapsulated
    refuse_large(columns, rows, decoded, len(header.PixelData) if packed else decoded)
    photometric = _text(header, "PhotometricInterpretation")
    display = _display(header, bits, bool(signed), photometric == "MONOCHROME1")
    burned_in = _text(header, "BurnedInAnnotation") == "YES"
    return Dicom(columns, rows, photometric, display, burned_in, header)


def _display(header: Dataset, bits: int, signed: bool, inverted: bool) -> Display:
    modality = _lookup(header, "ModalityLUTSequence")
    slope = _number(header, "RescaleSlope", 1)
    if slope == 0:
        raise UnreadableError(
            "mode", "declares RescaleSlope 0, which makes it even; export it anew"
        )
    voi: Lookup | Window | None = _lookup(header, "VOILUTSequence")
    # A width of 0 is how some devices say that there is no window.
    if voi is None and header.get("WindowCenter") is not None and header.get("WindowWidth"):
        centre, width = _number(header, "WindowCenter", 0), _number(header, "WindowWidth", 0)
        voi = check_window(Window(centre, width, _text(header, "VOILUTFunction") or "LINEAR"))
    return Display(
        bits, signed, inverted, modality, slope, _number(header, "RescaleIntercept", 0), voi
    )


def _lookup(header: Dataset, keyword: str) -> Lookup | None:
    """The first of the file's tables of one kind."""
    if not header.get(keyword):
        return None
    item = header[keyword].value[0]
    length, first, depth = (int(value) for value in item.LUTDescriptor)
    data, length = item.LUTData, length or 2**16
    if isinstance(data, bytes):
        # One byte to an entry only where there are no more bytes.
        data = np.frombuffer(data, "<u2" if len(data) >= 2 * length else np.uint8)
    entries = np.atleast_1d(np.asarray(data, np.int64))[:length]
    if len(entries) < length:
        raise damaged(f"has a table of {len(entries)} entries, expected {length}")
    return check_lookup(Lookup(first, entries, depth))


def _number(header: Dataset, keyword: str, default: float) -> float:
    """A number, the first where the file states several."""
    value = header.get(keyword)
    if value is None or value == "":
        return default
    number = float(value if isinstance(value, (int, float, str)) else value[0])
    if not math.isfinite(number):
        raise damaged(f"{keyword} is not a number")
    return number


def _text(header: Dataset, keyword: str) -> str:
    return _plain(str(header.get(keyword) or "")).strip()


def _plain(text: str) -> str:
    """Upper case, one line: a header's text as a message may show it."""
    return re.sub(r"[^A-Z0-9 ,:/()_-]", "?", text.upper())[:64]
