"""Inspecting one pair: each file is read and decoded once, and what is known of it is a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.layout import MASK_SIDE, Pair, Quarantined
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.splits.similarity import perceptual_hash
from pipeline.dataset.validation.medial_borders import measure_borders
from pipeline.dataset.validation.plausibility import components, left_share, mask_flags, thumbnail
from pipeline.errors import UnreadableError
from pipeline.params import ValidateParams
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import Loaded, load_mask, load_radiograph, pixel_sha256

FRAME = 16  # the mask's border is this part of its side


@dataclass(frozen=True)
class GoodPair:
    """A pair's row of the manifest, and its radiograph as float32 (32, 32)."""

    row: ManifestRow
    thumbnail: NDArray[np.float32]


def inspect_pair(
    data: Path, pair: Pair, params: ValidateParams | None = None
) -> GoodPair | Quarantined:
    """Read one pair below `data`; without `params` its mask is not flagged."""
    path = pair.image
    try:
        image = load_radiograph(data / path)
        path = pair.mask
        mask = load_mask(data / path)
        _refuse_unusable(mask.pixels, image.pixels)
    except UnreadableError as error:
        message = str(error).removeprefix(f"{data / path}: ")
        return Quarantined.of_message(pair.image_id, path.as_posix(), error.reason, message)
    flags = mask_flags(mask.pixels, params) if params else []
    return GoodPair(_row(pair, image, mask, flags), thumbnail(image.pixels))


def _refuse_unusable(mask: Grey, image: Grey) -> None:
    if mask.shape not in (image.shape, (MASK_SIDE, MASK_SIDE)):
        raise UnreadableError(
            "mask_size",
            f"mask is {_size(mask)}, expected the radiograph's {_size(image)} or "
            f"{MASK_SIDE}x{MASK_SIDE}; export it again",
        )
    if not mask.any():
        raise UnreadableError("mask_empty", "mask has no lung; draw it or remove the pair")
    if mask.all():
        raise UnreadableError("mask_full", "mask is lung everywhere; draw it or remove the pair")
    border, centre = _border_and_centre(mask)
    if border > 0.5 and border > centre:
        raise UnreadableError(
            "mask_inverted",
            f"mask's border is {border:.0%} lung, its centre {centre:.0%}; swap black and white",
        )


def _border_and_centre(mask: Grey) -> tuple[float, float]:
    """Shares of lung in the frame and in the middle half of each side.

    Lungs seldom reach the frame and fill much of the middle, whatever the exposure or the side.
    """
    height, width = mask.shape
    down, right = max(1, height // FRAME), max(1, width // FRAME)
    inside = mask[down:-down, right:-right]
    frame = (np.count_nonzero(mask) - np.count_nonzero(inside)) / (mask.size - inside.size)
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(frame), float(middle.mean(dtype=np.float64))


def _size(image: Grey) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _row(pair: Pair, image: Loaded, mask: Loaded, flags: list[str]) -> ManifestRow:
    # OpenCV's sums need no copy in floating point, which a large radiograph makes felt.
    mean, std = cv2.meanStdDev(image.pixels)
    return ManifestRow(
        image_id=pair.image_id,
        class_name=pair.class_name,
        image_path=pair.image.as_posix(),
        mask_path=pair.mask.as_posix(),
        width=image.pixels.shape[1],
        height=image.pixels.shape[0],
        mode=image.mode,
        mask_width=mask.pixels.shape[1],
        mask_height=mask.pixels.shape[0],
        mask_labels=" ".join(map(str, mask.labels)),
        image_sha256=image.sha256,
        mask_sha256=mask.sha256,
        pixel_sha256=pixel_sha256(image.pixels),
        mask_pixel_sha256=pixel_sha256(mask.pixels),
        perceptual_hash=perceptual_hash(image.pixels),
        mean=float(mean[0, 0]),
        std=float(std[0, 0]),
        lung_area=float(mask.pixels.mean(dtype=np.float64)),
        components=components(mask.pixels),
        left_share=left_share(mask.pixels),
        **measure_borders(mask.pixels)._asdict(),
        flags=" ".join(flags),
        notes="; ".join(image.notes),
    )
