"""Small files whose headers declare what would take much memory, or long."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.radiograph.containers import Chunk, dicom, dicom_bytes, encoded, header, png_of, raw_png

END: Chunk = (b"IEND", b"")
JPEG = encoded(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), "JPEG")
SIZE = JPEG.index(b"\xff\xc0") + 5


def even(rows: int, length: int) -> bytes:
    """Compress rows of nothing; whoever inflates them needs all the memory, we do not."""
    stream = zlib.compressobj(9)
    return b"".join(stream.compress(bytes(length)) for _ in range(rows)) + stream.flush()


def deflated_bomb() -> bytes:
    """A deflated DICOM file of 100 MB of nothing."""
    dataset = dicom(np.zeros((64, 64), np.uint8))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = dicom_bytes(dataset)
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = stream.compress(bytes(10**8)) + stream.flush()
    return content[: 144 + int.from_bytes(content[140:144], "little")] + body


BOMBS = {
    "30000x30000 of one bit": ("a.png", raw_png(30_000, 30_000, b"", depth=1)),
    "12000x12000, truly flat": (
        "a.png",
        png_of([header(12_000, 12_000), (b"IDAT", even(12_000, 12_001)), END]),
    ),
    "just above 16 Mpx": ("a.png", raw_png(4001, 4000, b"")),
    "2**31 - 1": ("a.png", raw_png(2**31 - 1, 2**31 - 1, b"")),
    "16 bits of four channels": ("a.png", raw_png(3900, 3900, b"", depth=16, colour=6)),
    "over 1000 times": ("a.png", png_of([header(3900, 3900), (b"IDAT", even(3900, 3901)), END])),
    "interlaced": ("a.png", raw_png(9000, 9000, b"", interlaced=1)),
    "chunks": ("a.png", png_of([header(64, 64), *[(b"abCd", b"")] * 100_001, END])),
    "JPEG": ("a.jpg", JPEG[:SIZE] + struct.pack(">HH", 60_000, 60_000) + JPEG[SIZE + 4 :]),
    "deflated DICOM": ("a.dcm", deflated_bomb()),
    "DICOM": (
        "a.dcm",
        dicom_bytes(dicom(np.zeros((64, 64), np.uint8), Rows=60_000, Columns=60_000)),
    ),
}
