"""Every fault that a dataset is known to have, for planting among good pairs."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from openpyxl import Workbook
from PIL import Image
from pydicom.dataset import FileMetaDataset

from pipeline.dataset.synthetic.phantom import radiograph

Grey = NDArray[np.uint8]
Faulty = tuple[bytes, bytes]
CLASS = "Normal"
PATIENT = "Doe^Jane"


def png(pixels: NDArray[Any] | Image.Image, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def rgb_mask(mask: Grey) -> bytes:
    return png(np.dstack([mask * 255] * 3))


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def bomb(side: int = 30_000) -> bytes:
    """A few hundred kB that unpack to 900 million pixels."""
    packer = zlib.compressobj(9)
    rows = [packer.compress(bytes(side // 8 + 1)) for _ in range(side)]
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = b"".join(rows) + packer.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def broken_checksum(content: bytes) -> bytes:
    at = content.index(b"IDAT") + 20
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def jpeg(image: Grey) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def dicom(image: Grey) -> bytes:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.PatientName = PATIENT
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PixelData = image.tobytes() + b"\0" * (image.size % 2)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def translucent(image: Grey) -> bytes:
    return png(np.dstack([image, image, image, np.full_like(image, 128)]))


def alpha_grey(image: Grey) -> bytes:
    return png(np.dstack([image, np.full_like(image, 128)]))


def coloured(image: Grey) -> bytes:
    return png(np.dstack([image, image[::-1], image]))


def smooth(mask: Grey) -> bytes:
    return png(Image.fromarray(mask * 255).resize((299, 299), Image.Resampling.BICUBIC))


# Of a good radiograph and its mask: the number of the fault, the reason, and the two files.
SPOILT: dict[str, tuple[int, str, Callable[[Grey, Grey], Faulty]]] = {
    "empty": (1, "empty_file", lambda image, mask: (b"", rgb_mask(mask))),
    "empty mask file": (1, "empty_file", lambda image, mask: (png(image), b"")),
    "half": (2, "truncated", lambda i, m: (png(i)[: len(png(i)) // 2], rgb_mask(m))),
    "99 percent": (2, "truncated", lambda i, m: (png(i)[: len(png(i)) * 99 // 100], rgb_mask(m))),
    "no end": (2, "truncated", lambda image, mask: (png(image)[:-12], rgb_mask(mask))),
    "bad checksum": (2, "truncated", lambda i, m: (broken_checksum(png(i)), rgb_mask(m))),
    "half a mask": (2, "truncated", lambda i, m: (png(i), rgb_mask(m)[:300])),
    "page": (3, "not_png", lambda image, mask: (b"<html>404</html>", rgb_mask(mask))),
    "pointer": (3, "not_png", lambda i, m: (b"version https://git-lfs.github", rgb_mask(m))),
    "jpeg": (4, "wrong_container", lambda image, mask: (jpeg(image), rgb_mask(mask))),
    "3 in 16": (5, "constant", lambda i, m: (png(i.astype(np.uint16) >> 5), rgb_mask(m))),
    "translucent": (6, "mode", lambda image, mask: (translucent(image), rgb_mask(mask))),
    "grey and alpha": (6, "mode", lambda image, mask: (alpha_grey(image), rgb_mask(mask))),
    "coloured": (7, "not_grayscale", lambda image, mask: (coloured(image), rgb_mask(mask))),
    "bomb": (8, "too_large", lambda image, mask: (bomb(), rgb_mask(mask))),
    "pixel": (9, "geometry", lambda image, mask: (png(image[:1, :1]), rgb_mask(mask))),
    "line": (9, "geometry", lambda image, mask: (png(image[:1]), rgb_mask(mask))),
    "small": (9, "geometry", lambda image, mask: (png(image[:63, :63]), rgb_mask(mask))),
    "narrow": (9, "geometry", lambda image, mask: (png(image[:, :80]), rgb_mask(mask))),
    "black": (10, "constant", lambda image, mask: (png(image * 0), rgb_mask(mask))),
    "flat": (10, "constant", lambda image, mask: (png(image // 128 + 100), rgb_mask(mask))),
    "cropped mask": (11, "mask_size", lambda image, mask: (png(image), rgb_mask(mask[:200]))),
    "smooth mask": (12, "mask_values", lambda image, mask: (png(image), smooth(mask))),
    "no lung": (13, "mask_empty", lambda image, mask: (png(image), rgb_mask(mask * 0))),
    "all lung": (13, "mask_full", lambda image, mask: (png(image), rgb_mask(mask * 0 + 1))),
    "inverted": (14, "mask_inverted", lambda image, mask: (png(image), rgb_mask(1 - mask))),
    "dicom": (20, "wrong_container", lambda image, mask: (dicom(image), rgb_mask(mask))),
}


def one_sided(mask: Grey) -> Grey:
    return np.where(np.arange(mask.shape[1]) < mask.shape[1] // 2, mask, 0).astype(np.uint8)


def tiny(mask: Grey) -> Grey:
    return np.kron(mask[::8, ::8], np.pad([[1]], ((0, 7), (0, 7)))).astype(np.uint8)


def specked(mask: Grey) -> Grey:
    spots = mask.copy()
    spots[2:6, 2:200:40] = 1
    return spots


def turned_by_exif(image: Grey) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(image[:280], exif=exif)


# What a dataset may hold: the number of the fault, the flag if any, and the two files.
TOLERATED: dict[str, tuple[int, str, Callable[[Grey, Grey], Faulty]]] = {
    "16 bits": (5, "", lambda i, m: (png(i.astype(np.uint16) * 257), rgb_mask(m))),
    "opaque": (6, "", lambda i, m: (png(np.dstack([i, i, i, i * 0 + 255])), rgb_mask(m))),
    "palette": (6, "", lambda i, m: (png(Image.fromarray(i).convert("P")), rgb_mask(m))),
    "mask of 0 and 1": (12, "", lambda image, mask: (png(image), png(mask))),
    "one lung": (13, "one_lung", lambda image, mask: (png(image), rgb_mask(one_sided(mask)))),
    "small lung": (13, "implausible_area", lambda i, m: (png(i), rgb_mask(tiny(m)))),
    "specks": (13, "stray_components", lambda i, m: (png(i), rgb_mask(specked(m)))),
    "exif": (19, "", lambda image, mask: (turned_by_exif(image), rgb_mask(mask))),
    "rotated": (19, "rotated", lambda i, m: (png(np.rot90(i).copy()), rgb_mask(np.rot90(m)))),
    "mirrored": (19, "mirrored", lambda i, m: (png(i[:, ::-1].copy()), rgb_mask(m[:, ::-1]))),
}


def source(index: int) -> tuple[Grey, Grey]:
    return radiograph(seed=99, index=index, class_name=CLASS)


def plant(data: Path, name: str, image: bytes | None, mask: bytes | None) -> None:
    for half, content in (("images", image), ("masks", mask)):
        if content is not None:
            (data / CLASS / half / f"{name}.png").write_bytes(content)


def plant_files(data: Path) -> None:
    for index, (name, (_, _, spoil)) in enumerate([*SPOILT.items(), *TOLERATED.items()]):
        plant(data, name, *spoil(*source(index)))


def plant_pairs_of_pairs(data: Path) -> None:
    """Faults 15 to 18, and what desktops leave behind."""
    image, mask = source(100)
    plant(data, "no mask", png(image), None)
    plant(data, "no image", None, rgb_mask(mask))
    (data / CLASS / "images/Case.PNG").write_bytes(png(source(101)[0]))
    plant(data, "case", None, rgb_mask(mask))
    (data / CLASS / "images/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    image, mask = source(102)
    plant(data, "twin 1", png(image), rgb_mask(mask))
    plant(data, "twin 2", png(image, compress_level=1), rgb_mask(mask))
    image, mask = source(103)
    plant(data, "contested 1", png(image), rgb_mask(mask))
    plant(data, "contested 2", png(image), rgb_mask(np.roll(mask, 9, axis=1)))
    workbook = Workbook()
    assert workbook.active
    workbook.active.append(["FILE NAME", "URL", "PATIENT ID"])
    for name in ("TWIN 1", "twin 2.PNG"):
        workbook.active.append([name, "https://example.org/1", 46])
    workbook.save(data / f"{CLASS}.metadata.xlsx")


LONG = "x" * 240
HOSTILE = ("link out", "link in", "pipe", "folder", "new\nline", os.fsdecode(b"\xff"), LONG)


def plant_hostile_paths(data: Path) -> None:
    """Fault 21: each is a radiograph with a good mask beside it."""
    images = data / CLASS / "images"
    for index, name in enumerate(HOSTILE):
        image, mask = source(120 + index)
        plant(data, name, png(image), rgb_mask(mask))
    outside = data.parent / "outside.png"
    (images / "link out.png").rename(outside)
    (images / "link out.png").symlink_to(outside)
    for name in ("link in", "pipe", "folder"):
        (images / f"{name}.png").unlink()
    (images / "link in.png").symlink_to(images / "twin 1.png")
    os.mkfifo(images / "pipe.png")
    (images / "folder.png").mkdir()
