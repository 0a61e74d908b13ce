"""The pictures of the dataset's page: radiographs with their masks, small, as JPEG bytes.

Nothing here fails because of a file: what cannot be shown is None.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import MASKS
from pipeline.errors import UnreadableError
from pipeline.pictures.overlay import COLOURS, draw_overlay
from pipeline.pictures.pages import encode_jpeg
from pipeline.radiograph.formats.stored import MAX_PIXELS
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph

SIDE = 224  # pixels: some 10 kB, and a stray part of a mask can still be seen
QUALITY = 80
AVERAGED = 100  # pairs of which a mean is made; more do not change it visibly
MEAN_SIDE = 256
NEVER_OPENED = {"path", "missing", "too_large"}
# Refused as a radiograph or mask, but a picture all the same, and its looks say why.
STILL_A_PICTURE = {"not_grayscale", "mode", "bit_depth", "mask_values", "wrong_container"}
# What Pillow raises for a damaged file, beside its own errors.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error, zlib.error)


def draw_pair(data: Path, pair: pd.Series) -> bytes | None:
    """The radiograph of a row of the manifest with the outline of its mask; parts are ringed."""
    both = radiograph_and_mask(data, pair)
    if both is None:
        return None
    radiograph, mask = both
    # Drawn at twice the size, so that the outline is one pixel wide and hides little.
    picture = draw_overlay(radiograph, mask, mask, 2 * SIDE)
    return encode_jpeg(_shrink(_ring_small_parts(picture, mask)), QUALITY)


def radiograph_and_mask(data: Path, pair: pd.Series) -> tuple[Grey, Grey] | None:
    """The radiograph and the mask of a row of the manifest; None when one cannot be read."""
    try:
        return read_radiograph(data / pair["image_path"]), read_mask(data / pair["mask_path"])
    except (UnreadableError, OSError):
        return None


def _ring_small_parts(picture: Grey, mask: Grey) -> Grey:
    """Circles around all but the two largest parts of the mask, which are easily overlooked."""
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    order = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[2:] + 1
    for part in order:
        across = max(stats[part, cv2.CC_STAT_WIDTH], stats[part, cv2.CC_STAT_HEIGHT])
        scale = np.array(picture.shape[1::-1]) / mask.shape[1::-1]
        x, y = np.rint(centres[part] * scale).astype(int)
        radius = round(0.7 * across * scale.max()) + 10
        cv2.circle(picture, (int(x), int(y)), radius, COLOURS["missed"], 4, cv2.LINE_AA)
    return picture


def draw_quarantined(data: Path, path: str, reason: str) -> bytes | None:
    """The file of a row of the quarantine as it looks; None when it cannot be decoded safely."""
    parts = PurePosixPath(path).parts
    inside = bool(parts) and ".." not in parts and not PurePosixPath(path).is_absolute()
    if reason in NEVER_OPENED or not inside or "\0" in path:
        return None
    try:
        file = data / path
        picture = _read_any(file, MASKS in parts, reason) if file.is_file() else None
    except (UnreadableError, Image.DecompressionBombWarning, *DAMAGED):
        return None
    return None if picture is None else encode_jpeg(_shrink(picture), QUALITY)


def _read_any(file: Path, is_mask: bool, reason: str) -> Grey | None:
    if reason in STILL_A_PICTURE:
        return _read_leniently(file)
    return read_mask(file) * np.uint8(255) if is_mask else read_radiograph(file)


def _read_leniently(file: Path) -> Grey | None:
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        if image.width * image.height > MAX_PIXELS:
            return None
        if image.mode.startswith(("I", "F")):
            return _stretch(np.asarray(image, dtype=np.float64))
        return np.asarray(image.convert("RGB"))


def _stretch(levels: NDArray[np.float64]) -> Grey:
    darkest, brightest = levels.min(), levels.max()
    scaled: Grey = (255 * (levels - darkest) / max(brightest - darkest, 1)).astype(np.uint8)
    return scaled


def _shrink(picture: Grey) -> Grey:
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shrunk: Grey = cv2.resize(picture, size, interpolation=smooth)
    return shrunk


def draw_mean_masks(data: Path, pairs: pd.DataFrame, others: pd.DataFrame) -> bytes | None:
    """Lung in most masks of `pairs` (dashed) against most of `others` (solid), over the mean."""
    ours, theirs = _average(data, pairs), _average(data, others)
    if ours is None or theirs is None:
        return None
    radiograph, lung = ours
    overlay = draw_overlay(radiograph, _majority(theirs[1]), _majority(lung), 2 * SIDE)
    return encode_jpeg(overlay, QUALITY)


def draw_mean_radiograph(data: Path, pairs: pd.DataFrame) -> bytes | None:
    """The mean of the radiographs, at the scale of the tiles."""
    average = _average(data, pairs)
    return None if average is None else encode_jpeg(_shrink(average[0]), QUALITY)


def _majority(share: NDArray[np.float32]) -> Grey:
    return (share >= 0.5).astype(np.uint8)


def _average(data: Path, pairs: pd.DataFrame) -> tuple[Grey, NDArray[np.float32]] | None:
    """Mean radiograph, uint8, and share of masks that hold lung, both (256, 256)."""
    # By their content, so that the same dataset gives the same page.
    chosen = pairs.sort_values(["pixel_sha256", "image_id"]).head(AVERAGED)
    size = (MEAN_SIDE, MEAN_SIDE)
    total = np.zeros((2, *size), np.float32)
    count = 0
    for _, pair in chosen.iterrows():
        both = radiograph_and_mask(data, pair)
        if both is not None:
            count += 1
            for kind, layer in enumerate(both):
                small = cv2.resize(layer, size, interpolation=cv2.INTER_AREA)
                total[kind] += small
    if not count:
        return None
    return np.rint(total[0] / count).astype(np.uint8), total[1] / np.float32(count)
