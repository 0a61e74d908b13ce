"""What a file is that is none of the formats read here, told by its first bytes, with a remedy."""

from __future__ import annotations

from typing import NamedTuple

AS_PNG = "renaming changes nothing: export it as PNG"


class Foreign(NamedTuple):
    """A format by name, and what to do about a file of it."""

    name: str
    remedy: str


def _picture(name: str) -> Foreign:
    article = "an" if name[0] in "AI" else "a"
    return Foreign(f"{article} {name} picture", AS_PNG)


POINTER = Foreign("a git-lfs pointer", "get the file itself with `git lfs pull`")
PAGE = Foreign("a web page", "log in where it came from and download it again")
ZEROS = Foreign("zeros, as an unfinished copy leaves them", "copy it again")
UNKNOWN = Foreign("something else", "replace the file")
ARCHIVE = "unpack it and take the picture out"

BARE_DICOM = Foreign("DICOM without its first 132 bytes", "export it again, or as PNG")

# Where the bytes stand, the bytes, and what they begin.
SIGNATURES: tuple[tuple[int, bytes, Foreign], ...] = (
    (0, b"II*\0", _picture("TIFF")),
    (0, b"MM\0*", _picture("TIFF")),
    (0, b"II+\0", _picture("TIFF")),  # BigTIFF
    (0, b"MM\0+", _picture("TIFF")),
    (8, b"WEBP", _picture("WebP")),
    (0, b"BM", _picture("BMP")),
    (0, b"GIF8", _picture("GIF")),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", _picture("JPEG 2000")),
    (0, b"\xff\x4f\xff\x51", _picture("JPEG 2000")),
    (0, b"\0\0\0\x0cJXL ", _picture("JPEG XL")),
    (0, b"\xff\x0a", _picture("JPEG XL")),
    (4, b"ftypavif", _picture("AVIF")),
    (4, b"ftyphei", _picture("HEIC")),
    (4, b"ftyphev", _picture("HEIC")),
    (4, b"ftypmif1", _picture("HEIC")),
    (4, b"ftypmsf1", _picture("HEIC")),
    (0, b"8BPS", Foreign("a Photoshop file", AS_PNG)),
    (0, b"\0\0\1\0", Foreign("an icon", "replace it by the radiograph")),
    (0, b"%PDF", Foreign("a PDF document", "take the picture out, as a PNG")),
    (0, b"\x93NUMPY", Foreign("a NumPy array", AS_PNG)),
    (0, b"\x89HDF", Foreign("an HDF5 file", AS_PNG)),
    (0, b"NRRD", Foreign("an NRRD volume", AS_PNG)),
    (344, b"n+1\0", Foreign("a NIfTI volume", AS_PNG)),
    (0, b"PK\3\4", Foreign("a zip", ARCHIVE)),
    (0, b"\x1f\x8b", Foreign("a gzip file, perhaps a NIfTI volume", ARCHIVE)),
    (0, b"7z\xbc\xaf", Foreign("a 7-Zip archive", ARCHIVE)),
    (0, b"Rar!", Foreign("a RAR archive", ARCHIVE)),
    (257, b"ustar", Foreign("a tar archive", ARCHIVE)),
    (0, b"version https://git-lfs", POINTER),
    (0, b"\2\0\0\0UL\4\0", BARE_DICOM),
    (0, b"\x08\0\0\0\4\0\0\0", BARE_DICOM),
    (0, b"\x08\0\5\0", BARE_DICOM),
    (0, b"\x08\0\x08\0", BARE_DICOM),
)


def name_format(content: bytes) -> Foreign:
    """What these bytes begin, of one or more."""
    for place, signature, foreign in SIGNATURES:
        if content[place : place + len(signature)] == signature:
            return foreign
    text = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<") and b"<svg" in text:
        return Foreign("an SVG drawing", AS_PNG)
    if text.startswith((b"<", b"\xff\xfe<", b"\xfe\xff\0<")):
        return PAGE
    if text.startswith((b"{", b"[")):
        return Foreign("a JSON text, such as the answer of a server", PAGE.remedy)
    return (
        Foreign("zeros, as an unfinished copy leaves them", "copy it again")
        if (content and not any(content[:4096]))
        else UNKNOWN
    )
