"""PNG and DICOM files as bytes: taken apart, changed, and put together again."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def encoded(pixels: NDArray[Any], kind: str = "PNG", mode: str | None = None, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind, **how)
    return buffer.getvalue()


def chunks_of(content: bytes) -> list[Chunk]:
    """The chunks of a good PNG, name and content."""
    place, chunks = len(SIGNATURE), []
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunks.append((name, content[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def png_of(chunks: list[Chunk]) -> bytes:
    """A PNG of these chunks, with good checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def with_chunk(content: bytes, name: bytes, body: bytes, place: int = 1) -> bytes:
    """Insert one chunk."""
    chunks = chunks_of(content)
    return png_of([*chunks[:place], (name, body), *chunks[place:]])


def header(width: int, height: int, depth: int = 8, colour: int = 0, interlaced: int = 0) -> Chunk:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def raw_png(width: int, height: int, rows: bytes, **kind: int) -> bytes:
    """A PNG of unfiltered rows; the header may lie about them."""
    return png_of([header(width, height, **kind), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def dicom(pixels: NDArray[Any], bits: int = 8, **elements: Any) -> FileDataset:
    """A frontal chest radiograph in DICOM; elements given as None are left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["radiograph"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    described: dict[str, Any] = {
        "PatientName": "Planted^Person",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(np.issubdtype(pixels.dtype, np.signedinteger)),
    } | elements
    for keyword, value in described.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    return dataset


def dicom_bytes(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
