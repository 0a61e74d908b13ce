"""Turn the train and val pairs into shards of training images, with augmented copies for train.

Every random choice depends only on the seed, the pair and the number of the copy, so that the
bytes depend neither on the number of processes nor on their order.
"""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.dataset.radiograph import read_mask, read_radiograph
from pipeline.errors import StageError, UnreadableError
from pipeline.files import atomic_folder, write_json
from pipeline.model.predictor import fit_radiograph
from pipeline.model.shards import encode_record, write_shard
from pipeline.params import AugmentParams, Params

Grey = NDArray[np.uint8]

SHARD_RECORDS = 128
"""2.4 MB at 128 x 128."""

MIN_LUNG_KEPT = 0.5
"""Share of the lungs' area that a copy must still show."""

MAX_DRAWS = 20

PREVIEW_COPIES = 4
TILE, GAP, CAPTION = 240, 8, 26  # pixels of preview.png
OUTLINE = (60, 220, 120)


@dataclass(frozen=True)
class Draw:
    """One record to make: a pair as it is (copy 0) or an augmented copy of it (from 1)."""

    image_id: str
    image: Path
    mask: Path
    copy: int


@dataclass(frozen=True)
class Shard:
    """What a process needs to write one shard."""

    path: Path
    draws: list[Draw]
    params: AugmentParams


def run(params: Params, root: Path) -> str:
    """Write artifacts/augment: shards of train and val, augment.json and preview.png.

    Raises StageError when a split is empty, a file cannot be read, or the parameters push the
    lungs out of the frame.
    """
    pairs = {split: _pairs(root, split) for split in ("train", "val")}
    copies = {"train": params.augment.copies, "val": 0}
    draws = {split: _shuffled(pairs[split], n, params.augment) for split, n in copies.items()}
    with atomic_folder(root / "artifacts/augment") as folder:
        shards = [
            shard for split in draws for shard in _shards(folder, split, draws[split], params)
        ]
        redrawn = sum(_write_all(shards, params.augment.workers))
        _preview(pairs["train"], params.augment).save(folder / "preview.png")
        counts = {split: len(records) for split, records in draws.items()}
        write_json(folder / "augment.json", _summary(params.augment, pairs, counts, redrawn))
    return (
        f"augment: {counts['train']} train and {counts['val']} val records of "
        f"{params.augment.image_size}x{params.augment.image_size} pixels in {len(shards)} shards, "
        f"{redrawn} redrawn"
    )


def _pairs(root: Path, split: str) -> list[Draw]:
    path = root / "artifacts/split/split.csv"
    if not path.is_file():
        raise StageError(f"{path}: no such file; run the stage split first")
    data = root / "data"
    with path.open(newline="", encoding="utf-8") as file:
        pairs = [
            Draw(row["image_id"], data / row["image_path"], data / row["mask_path"], 0)
            for row in csv.DictReader(file)
            if row["split"] == split
        ]
    if not pairs:
        raise StageError(
            f"{path}: found no {split} pairs, expected at least one; raise the share of {split} "
            "in params.yaml or add radiographs",
        )
    return pairs


def _shuffled(pairs: list[Draw], copies: int, params: AugmentParams) -> list[Draw]:
    """All records of a split in random order, so that training can read shards one by one."""
    draws = [
        Draw(pair.image_id, pair.image, pair.mask, copy)
        for pair in pairs
        for copy in range(copies + 1)
    ]
    return sorted(draws, key=lambda draw: _digest(params.seed, draw.image_id, draw.copy))


def _shards(folder: Path, split: str, draws: list[Draw], params: Params) -> Iterator[Shard]:
    count = -(-len(draws) // SHARD_RECORDS)
    for i in range(count):
        path = folder / f"{split}-{i:05d}-of-{count:05d}.tfrecord"
        part = draws[i * SHARD_RECORDS : (i + 1) * SHARD_RECORDS]
        yield Shard(path, part, params.augment)


def _write_all(shards: list[Shard], workers: int) -> list[int]:
    processes = min(workers or len(os.sched_getaffinity(0)), len(shards))
    if processes == 1:
        return [_write(shard) for shard in shards]
    # Forking would copy the threads' locks of OpenCV in whatever state they are.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        return list(pool.map(_write, shards))


def _write(shard: Shard) -> int:
    """Write one shard; gives the number of copies that were drawn again."""
    transforms = _transforms(shard.params)
    redrawn = 0

    def records() -> Iterator[bytes]:
        nonlocal redrawn
        for draw in shard.draws:
            image, mask, draws = _make(draw, transforms, shard.params)
            redrawn += draws - 1
            yield encode_record(draw.image_id, image, mask)

    write_shard(shard.path, records())
    return redrawn


def _make(draw: Draw, transforms: Any, params: AugmentParams) -> tuple[Grey, Grey, int]:
    """Image (S, S) 0..255 and mask (S, S) 0/1 of a record, and how many draws it took."""
    image, mask = _read(draw, params.image_size)
    if draw.copy == 0:
        return image, mask, 1
    for attempt in range(1, MAX_DRAWS + 1):
        digest = _digest(params.seed, draw.image_id, draw.copy, attempt)
        transforms.set_random_seed(int.from_bytes(digest[:4], "little"))
        copy = transforms(image=image, mask=mask)
        if _shows_lungs(copy["mask"], mask):
            return copy["image"], copy["mask"], attempt
    raise StageError(
        f"{draw.image_id}: {MAX_DRAWS} random copies all lost half of the lungs or more; lower "
        "augment.shift, augment.scale or augment.rotate",
    )


def _read(draw: Draw, side: int) -> tuple[Grey, Grey]:
    try:
        image, mask = read_radiograph(draw.image), read_mask(draw.mask)
    except UnreadableError as error:
        # It was readable when it was validated. A plain error crosses process borders.
        raise StageError(f"{error}; then run the stage validate again") from None
    share = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return fit_radiograph(image, side), (share >= 0.5).astype(np.uint8)


def _shows_lungs(mask: Grey, before: Grey) -> bool:
    """Whether a copy's mask holds only 0 and 1 and enough of the lungs."""
    return bool(mask.max() <= 1 and mask.sum() >= MIN_LUNG_KEPT * before.sum())


def _transforms(params: AugmentParams) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network at import
    import albumentations as A

    affine = A.Affine(
        scale=(1 - params.scale, 1 + params.scale),
        rotate=(-params.rotate, params.rotate),
        translate_percent=(-params.shift, params.shift),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=0,
        p=1,
    )
    light = A.RandomBrightnessContrast(params.brightness, params.contrast, p=1)
    return A.Compose([A.HorizontalFlip(p=params.flip), affine, light])


def _digest(*key: object) -> bytes:
    return hashlib.sha256("/".join(map(str, key)).encode()).digest()


def _summary(
    params: AugmentParams,
    pairs: dict[str, list[Draw]],
    records: dict[str, int],
    redrawn: int,
) -> dict[str, Any]:
    serialised = _transforms(params).to_dict()
    return {
        "image_size": params.image_size,
        "pairs": {split: len(found) for split, found in pairs.items()},
        "records": records,
        "redrawn": redrawn,
        "transforms": serialised["transform"],
        "albumentations": serialised["__version__"],
    }


def _preview(pairs: list[Draw], params: AugmentParams) -> Image.Image:
    """The first pair of each class and its first copies, with outlined lungs."""
    firsts = {pair.image_id.partition("/")[0]: pair for pair in reversed(pairs)}
    columns = 1 + min(params.copies, PREVIEW_COPIES)
    size = (GAP + columns * (TILE + GAP), len(firsts) * (TILE + CAPTION + GAP) + GAP)
    canvas = Image.new("RGB", size, "white")
    write = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(14)
    transforms = _transforms(params)
    for row, (_, pair) in enumerate(sorted(firsts.items())):
        top = GAP + row * (TILE + CAPTION + GAP)
        for copy in range(columns):
            left = GAP + copy * (TILE + GAP)
            draw = Draw(pair.image_id, pair.image, pair.mask, copy)
            caption = f"copy {copy}" if copy else pair.image_id
            write.text((left, top + 4), _shortened(caption, font), "black", font)
            tile = _tile(*_make(draw, transforms, params)[:2])
            canvas.paste(Image.fromarray(tile), (left, top + CAPTION))
    return canvas


def _shortened(caption: str, font: Any) -> str:
    while font.getlength(caption) > TILE:
        caption = caption[: len(caption) - 2] + "…"
    return caption


def _tile(image: Grey, mask: Grey) -> Grey:
    """A picture (TILE, TILE, 3) of an image with the outline of its mask."""
    picture = cv2.cvtColor(
        cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB
    )
    shape = cv2.resize(mask, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, OUTLINE, 1)
    return np.asarray(picture)
