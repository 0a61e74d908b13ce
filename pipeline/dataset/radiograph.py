"""Reading one radiograph or mask, the same way in every stage and in prediction."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UnreadableError

Grey = NDArray[np.uint8]

MAX_PIXELS = 64_000_000  # the largest digital detectors have 18 Mpx; beyond this it is a bomb
FORMATS = ("PNG", "JPEG")


def read_radiograph(path: Path) -> Grey:
    """Read a PNG or JPEG radiograph as uint8 (H, W), 0 dark to 255 bright.

    16-bit files are scaled by their declared depth; colour files are taken only when all channels
    agree and nothing is transparent. EXIF orientation is ignored. Raises UnreadableError.
    """
    return _grey(_open(path), path)


def read_mask(path: Path) -> Grey:
    """Read a lung mask as uint8 (H, W), 1 lung and 0 background.

    Files may hold 0/255 or 0/1, grey or RGB; anything between is refused (UnreadableError).
    """
    mask = _grey(_open(path), path)
    values = np.unique(mask)
    if not (set(values) <= {0, 255} or set(values) <= {0, 1}):
        raise UnreadableError(
            "mask_values",
            f"{path}: mask has {len(values)} grey values, expected only 0 and 255; export it "
            "without smoothing",
        )
    return (mask > 0).astype(np.uint8)


def pixel_sha256(image: Grey) -> str:
    """Hex SHA-256 of size and pixels: equal for equal pictures, however they are encoded."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError(
                "too_large",
                f"{path}: {image.width}x{image.height} pixels, more than any radiograph has",
            )
        image.load()
    except UnidentifiedImageError:
        raise UnreadableError(
            "not_an_image",
            f"{path}: found no PNG or JPEG content; replace the file",
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, FileNotFoundError):
            raise UnreadableError("missing", f"{path}: no such file") from None
        raise UnreadableError(
            "truncated",
            f"{path}: cannot be decoded ({error}); fetch the file again",
        ) from None
    return image


def _grey(image: Image.Image, path: Path) -> Grey:
    if image.mode == "L":
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * 255
    if image.mode in ("I;16", "I;16B", "I"):
        # PNG declares 16 bits: the full range is 0..65535, whatever part of it is used.
        return (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
    if image.mode in ("RGB", "RGBA", "P", "PA", "LA"):
        return _agreeing_channels(np.asarray(image.convert("RGBA")), path)
    raise UnreadableError("mode", f"{path}: mode {image.mode}, expected 8- or 16-bit grey")


def _agreeing_channels(pixels: NDArray[np.uint8], path: Path) -> Grey:
    if (pixels[..., 3] != 255).any():
        raise UnreadableError("mode", f"{path}: has transparent pixels; export it as grey")
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red != green).any() or (red != blue).any():
        raise UnreadableError("not_grayscale", f"{path}: is a colour picture; export it as grey")
    return np.ascontiguousarray(red)
