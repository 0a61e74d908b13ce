"""Reading one radiograph or mask, the same way in every stage and in prediction.

A file's bytes are read once, hashed, and judged: the content by its first bytes, then the structure
and the header, and only then the pixels are decoded. Orientation in EXIF is ignored: a radiograph
is what its pixels are, in every viewer and every stage.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import DatasetError, UnreadableError
from pipeline.radiograph.channels import grey_levels
from pipeline.radiograph.formats import jpeg, png
from pipeline.radiograph.formats.foreign import name_format
from pipeline.radiograph.formats.shades import judge_shades, to_grey
from pipeline.radiograph.formats.stored import MAX_FILE, Container
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.mask_labels import lung_of_mask

MIN_SIDE = 64
MAX_ASPECT = 3
FLAT = 2.0
"""A standard deviation below this, of 0..255, is no radiograph."""

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".dcm": "DICOM"}
DICOM_SIGNATURE = b"DICM"  # after a preamble of 128 bytes
DICOM_SIGNATURE_END = 132


@dataclass(frozen=True)
class Loaded:
    """A radiograph or mask as it was read."""

    pixels: Grey
    """(H, W); a radiograph 0 dark to 255 bright, a mask 0 background and 1 lung."""
    mode: str
    """As the file stores it: "L", "RGB", "I;16", "MONOCHROME2 12 bit" and the like."""
    sha256: str
    """Hex, of the file's bytes."""
    notes: tuple[str, ...] = ()
    """What a person should know of a file that is read all the same; empty for ordinary ones."""
    labels: tuple[int, ...] = ()
    """Of a mask that does not hold just 0 and 1 or 255: the values that were taken for lung."""


def load_radiograph(path: Path) -> Loaded:
    """Read a PNG, JPEG or DICOM radiograph as uint8 (H, W), 0 dark to 255 bright.

    formats/shades.py says what more than 8 bits mean. Colour files are taken only when all channels
    agree within two levels and nothing is transparent. Raises UnreadableError, which carries the
    reason.
    """
    return _load(path, None, _as_radiograph)


def load_mask(path: Path) -> Loaded:
    """Read a lung mask as uint8 (H, W), 1 lung and 0 background.

    Files may hold two values, 0 and another, or three that are background, left and right lung;
    grey, or colours on black. Anything between is refused (UnreadableError).
    """
    return _load(path, None, _as_mask)


def read_radiograph(path: Path, sha256: str | None = None) -> Grey:
    """Return the pixels of load_radiograph.

    With `sha256` (hex, of the file's bytes) raises DatasetError when the file is another one.
    """
    return _load(path, sha256, _as_radiograph).pixels


def read_mask(path: Path, sha256: str | None = None) -> Grey:
    """Return the pixels of load_mask.

    With `sha256` (hex, of the file's bytes) raises DatasetError when the file is another one.
    """
    return _load(path, sha256, _as_mask).pixels


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, whatever its name; may raise OSError."""
    with path.open("rb") as file:
        return _container(file.read(DICOM_SIGNATURE_END)) == "DICOM"


def pixel_sha256(image: Grey) -> str:
    """Hex SHA-256 of size and pixels: equal for equal pictures, however they are encoded."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _load(path: Path, expected: str | None, judge: Callable[[Container, str], Loaded]) -> Loaded:
    try:
        content = _content(path)
        digest = hashlib.sha256(content).hexdigest()
        if expected is not None and digest != expected:
            raise DatasetError(_changed(path, digest, expected))
        return judge(_parse(content, path.suffix.lower()), digest)
    except UnreadableError as error:
        raise UnreadableError(error.reason, f"{path}: {error}") from None


def _changed(path: Path, found: str, expected: str) -> str:
    return (
        f"{path}: sha256 is {found[:12]}, expected {expected[:12]} as validated; the DVC cache or "
        "remote is damaged, or data/ was changed by hand: remove the object from the cache and run "
        "`dvc pull data`, or push it again from a good copy; run validate again if the change was "
        "meant"
    )


def _content(path: Path) -> bytes:
    """The bytes of a regular file or a link to one; a pipe or device is never waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _refuse_file(status)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UnreadableError("missing", "no such file") from None
    except OSError as error:
        raise UnreadableError("path", f"{error.strerror}; expected a readable file") from None


def _refuse_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("path", "is a folder, pipe or device, expected a regular file")
    if status.st_size > MAX_FILE:
        raise UnreadableError(
            "too_large",
            f"file has {status.st_size} bytes, expected at most {MAX_FILE}; export it smaller",
        )


def _parse(content: bytes, suffix: str) -> Container:
    found, expected = _container(content), SUFFIXES.get(suffix)
    if not content:
        raise UnreadableError("empty_file", "file is empty; fetch it again")
    if found is None:
        named = expected or "PNG"
        foreign = name_format(content)
        raise UnreadableError(
            f"not_{named.lower()}", f"found {foreign.name}, no {named} content; {foreign.remedy}"
        )
    if expected is not None and found != expected:
        raise UnreadableError(
            "wrong_container",
            f"found {found} content, expected {expected}; export it as {expected} (for prediction "
            "it is enough to rename it)",
        )
    if found == "DICOM":
        # Imported only now: pydicom takes longer to import than a hundred PNGs to read.
        from pipeline.radiograph.formats.dicom import parse_dicom

        return parse_dicom(content)
    return png.parse_png(content) if found == "PNG" else jpeg.parse_jpeg(content)


def _container(content: bytes) -> str | None:
    if content.startswith(png.SIGNATURE):
        return "PNG"
    if content.startswith(jpeg.SIGNATURE):
        return "JPEG"
    return "DICOM" if content[128:DICOM_SIGNATURE_END] == DICOM_SIGNATURE else None


def _as_radiograph(container: Container, sha256: str) -> Loaded:
    short, long = sorted((container.width, container.height))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise UnreadableError(
            "geometry",
            f"size {container.width}x{container.height}, expected at least {MIN_SIDE} pixels a "
            f"side and at most {MAX_ASPECT}:1; replace it by the whole radiograph",
        )
    stored = container.decode()
    levels = grey_levels(stored.levels)
    if stored.display is None:
        image, notes = levels, judge_shades(levels)
    else:
        image, notes = to_grey(levels, stored.display)
    deviation = float(cv2.meanStdDev(image)[1].item())
    if deviation < FLAT:
        raise UnreadableError(
            "constant",
            f"grey values hardly vary (standard deviation {deviation:.2f}), expected at least "
            f"{FLAT} of 255; export it again",
        )
    return Loaded(image, stored.mode, sha256, (*stored.notes, *notes))


def _as_mask(container: Container, sha256: str) -> Loaded:
    stored = container.decode()
    lung, labels = lung_of_mask(stored.levels)
    return Loaded(lung, stored.mode, sha256, stored.notes, labels)
