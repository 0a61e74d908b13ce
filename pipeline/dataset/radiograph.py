"""Reading one radiograph or mask, the same way in every stage and in prediction."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UnreadableError

Grey = NDArray[np.uint8]

MAX_PIXELS = 64_000_000  # the largest digital detectors have 18 Mpx; beyond this it is a bomb
FORMATS = ("PNG", "JPEG")
# What Pillow raises for a damaged file, beside its own errors.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error, zlib.error)


def read_radiograph(path: Path) -> Grey:
    """Read a PNG or JPEG radiograph as uint8 (H, W), 0 dark to 255 bright.

    16-bit files are scaled by their declared depth; colour files are taken only when all channels
    agree and nothing is transparent. EXIF orientation is ignored. Raises UnreadableError.
    """
    return _grey(_open(path), path)


def read_mask(path: Path) -> Grey:
    """Read a lung mask as uint8 (H, W), 1 lung and 0 background.

    Files may hold 0/255, 0/1 or, with 16 bits, 0/65535, grey or RGB; anything between is refused
    (UnreadableError).
    """
    levels = _levels(_open(path), path)
    values = np.unique(levels)
    if not any(set(values) <= {0, lung} for lung in (1, 255, 65535)):
        raise UnreadableError(
            "mask_values",
            f"{path}: mask has {len(values)} grey values, expected only 0 and 255; export it "
            "without smoothing",
        )
    return (levels > 0).astype(np.uint8)


def pixel_sha256(image: Grey) -> str:
    """Hex SHA-256 of size and pixels: equal for equal pictures, however they are encoded."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
            image.load()
            return image
    except UnidentifiedImageError:
        raise UnreadableError(
            "not_an_image",
            f"{path}: found no PNG or JPEG content; replace the file",
        ) from None
    except FileNotFoundError:
        raise UnreadableError("missing", f"{path}: no such file") from None
    # Pillow only warns of a size between once and twice its own limit, which is above ours.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableError(
            "too_large",
            f"{path}: {error}; more than any radiograph has, export it smaller",
        ) from None
    except DAMAGED as error:
        raise UnreadableError(
            "truncated",
            f"{path}: cannot be decoded ({error}); fetch the file again",
        ) from None


def _grey(image: Image.Image, path: Path) -> Grey:
    levels = _levels(image, path)
    if levels.dtype == np.uint8:
        return levels
    # PNG declares 16 bits: the full range is 0..65535, whatever part of it is used.
    return (levels // 257).astype(np.uint8)


def _levels(image: Image.Image, path: Path) -> NDArray[Any]:
    """The grey values as the file holds them: uint8, or uint16 for 16-bit files."""
    transparent = "transparency" in image.info
    if image.mode == "L" and not transparent:
        return np.array(image)
    if image.mode == "1" and not transparent:
        return np.array(image).astype(np.uint8) * 255
    if image.mode == "I;16" and not transparent:
        return np.array(image).astype(np.uint16)
    if image.mode in ("L", "1", "LA", "P", "PA", "RGB", "RGBA"):
        return _agreeing_channels(np.asarray(image.convert("RGBA")), path)
    raise UnreadableError("mode", f"{path}: mode {image.mode}, expected 8- or 16-bit grey")


def _agreeing_channels(pixels: NDArray[np.uint8], path: Path) -> Grey:
    if (pixels[..., 3] != 255).any():
        raise UnreadableError("mode", f"{path}: has transparent pixels; export it as grey")
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red != green).any() or (red != blue).any():
        raise UnreadableError("not_grayscale", f"{path}: is a colour picture; export it as grey")
    return np.ascontiguousarray(red)
