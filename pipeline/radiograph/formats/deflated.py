"""DICOM files whose dataset is deflated as a whole, inflated within bounds before it is read.

pydicom inflates such a file whatever its size, before anything can be asked. Source: DICOM PS3.5,
A.5.
"""

from __future__ import annotations

import io
import zlib

from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.stored import MAX_FILE, damaged

DEFLATED = DeflatedExplicitVRLittleEndian.encode()
# As long as the other, so that all lengths in the file stay true.
PLAIN = ExplicitVRLittleEndian.encode().ljust(len(DEFLATED), b"\0")
PREAMBLE = 132
WRAPPED = b"\x78"  # how zlib's own header begins, which some programs leave in; no raw stream does
STEP = 8 * 2**20


def inflated(content: bytes) -> bytes:
    """Return a deflated DICOM file as an explicit little-endian one, any other as it is.

    Raises UnreadableError for one that inflates to more than MAX_FILE bytes, and zlib.error or what
    pydicom raises for a damaged one.
    """
    file = io.BytesIO(content)
    file.seek(PREAMBLE)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return content
    start = file.tell()
    return content[:start].replace(DEFLATED, PLAIN) + _inflate(content[start:])


def _inflate(packed: bytes) -> bytes:
    """Inflate the dataset, twice: first only to learn how large it is, in little memory."""
    window = zlib.MAX_WBITS if packed.startswith(WRAPPED) else -zlib.MAX_WBITS
    stream, size, rest = zlib.decompressobj(window), 0, packed
    while not stream.eof:
        step = len(stream.decompress(rest, STEP))
        if not step and not stream.eof:
            raise damaged("the deflated dataset breaks off")
        size, rest = size + step, stream.unconsumed_tail
        if size > MAX_FILE:
            raise UnreadableError(
                "too_large",
                f"inflates to more than {MAX_FILE} bytes, expected at most so many; export it "
                "smaller",
            )
    return zlib.decompressobj(window).decompress(packed, size)
