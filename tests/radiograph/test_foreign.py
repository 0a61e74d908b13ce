from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UnreadableError
from pipeline.radiograph.formats.foreign import name_format
from pipeline.radiograph.reading import read_mask, read_radiograph

GREY = (np.arange(64 * 64) // 16).astype(np.uint8).reshape(64, 64)


def as_format(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, name, **options)
    return file.getvalue()


def as_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.png", b"")
    return file.getvalue()


def as_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("a.png"))
    return file.getvalue()


def as_array() -> bytes:
    file = io.BytesIO()
    np.save(file, GREY)
    return file.getvalue()


FORMATS = [
    (as_format("TIFF"), "a TIFF picture", "export it as PNG"),
    (b"MM\0*" + bytes(90), "a TIFF picture", "export it as PNG"),
    (as_format("TIFF", big_tiff=True), "a TIFF picture", "export it as PNG"),
    (as_format("WEBP"), "a WebP picture", "export it as PNG"),
    (as_format("BMP"), "a BMP picture", "export it as PNG"),
    (as_format("GIF"), "a GIF picture", "export it as PNG"),
    (as_format("JPEG2000"), "a JPEG 2000 picture", "export it as PNG"),
    (as_format("JPEG2000", no_jp2=True), "a JPEG 2000 picture", "export it as PNG"),
    (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "a HEIC picture", "export it as PNG"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture", "export it as PNG"),
    (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "an AVIF picture", "export it as PNG"),
    (b"\xff\x0a\xfa\x7f", "a JPEG XL picture", "export it as PNG"),
    (b"8BPS\0\1" + bytes(20), "a Photoshop file", "export it as PNG"),
    (b"\0\0\1\0\1\0\x10\x10", "an icon", "replace it by the radiograph"),
    (b"%PDF-1.7\n", "a PDF document", "take the picture out, as a PNG"),
    (as_array(), "a NumPy array", "export it as PNG"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "export it as PNG"),
    (b"NRRD0004\n", "an NRRD volume", "export it as PNG"),
    (bytes([92, 1]) + bytes(342) + b"n+1\0", "a NIfTI volume", "export it as PNG"),
    (as_zip(), "a zip", "unpack it"),
    (b"\x1f\x8b\x08\0", "a gzip file", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    (b"Rar!\x1a\7", "a RAR archive", "unpack it"),
    (as_tar(), "a tar archive", "unpack it"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer", "`git lfs pull`"),
    (b"\n <!DOCTYPE html><title>404</title>", "a web page", "download it again"),
    (b"\xef\xbb\xbf<html>", "a web page", "download it again"),
    (b"<?xml version='1.0'?><Error/>", "a web page", "download it again"),
    (b"<?xml version='1.0'?><svg/>", "an SVG drawing", "export it as PNG"),
    (b'{"error": "expired"}', "a JSON text, such as the answer of a server", "download it again"),
    (bytes(5000), "zeros, as an unfinished copy leaves them", "copy it again"),
    (b"\2\0\0\0UL\4\0" + bytes(90), "DICOM without its first 132 bytes", "or as PNG"),
    (b"\x08\0\5\0CS\n\0ISO_IR 100", "DICOM without its first 132 bytes", "or as PNG"),
    (b"see the other folder", "something else", "replace the file"),
]


@pytest.mark.parametrize(("content", "name", "remedy"), FORMATS, ids=[row[1] for row in FORMATS])
def test_a_file_named_png_is_named_for_what_it_is(
    tmp_path: Path, content: bytes, name: str, remedy: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)

    for read in (read_radiograph, read_mask):
        with pytest.raises(UnreadableError) as caught:
            read(path)

        assert caught.value.reason == "not_png"
        assert f"found {name}" in str(caught.value)
        assert remedy in str(caught.value)


def test_a_few_bytes_are_something_else() -> None:
    assert name_format(b"\0").name == "zeros, as an unfinished copy leaves them"
    assert name_format(b"I").name == "something else"
