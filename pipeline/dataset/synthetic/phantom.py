"""Synthetic radiographs with exact masks, in the layout of the COVID-19 Radiography Database.

They serve where the real ones may not or cannot be: the built-in sample, the tests, the
benchmarks. The layout and its quirks are those of the set published on Kaggle (Chowdhury et al.
2020, "Can AI help in screening viral and COVID-19 pneumonia?", IEEE Access 8:132665; Rahman et al.
2021, Computers in Biology and Medicine 132:104319): images are 299x299 grey, masks 256x256 RGB, the
sheets say 256*256 for both, and write NORMAL where the folder says Normal.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.dataset.layout import IMAGES, MASKS, METADATA_SUFFIX, Pair
from pipeline.dataset.synthetic.chest.anatomy import draw_chest
from pipeline.dataset.synthetic.chest.pathology import OPACITIES
from pipeline.dataset.synthetic.chest.projection import lung_mask, project_chest
from pipeline.errors import DatasetError
from pipeline.files import atomic_folder
from pipeline.radiograph.grey import Grey
from pipeline.worker_pool import open_workers, translated_kill, usable_cores

KAGGLE_PAIRS = {"COVID": 3616, "Lung_Opacity": 6012, "Normal": 10192, "Viral Pneumonia": 1345}
LEAST_PER_CLASS = 25  # enough to leave three radiographs of each class in a test split of 15 %
CHUNK = 32  # pairs per task of a worker: half a second
# On noise, run lengths make files 4 % smaller than zlib's search does, in a fifth of the time; a
# filter of our choice saves trying all of them.
RUN_LENGTHS = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
IMAGE_PNG = (*RUN_LENGTHS, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH)
MASK_PNG = (*RUN_LENGTHS, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Chunk:
    """Consecutive pairs of one class, written by one worker."""

    root: Path
    seed: int
    class_name: str
    indices: range


def radiograph(seed: int, index: int, class_name: str) -> tuple[Grey, Grey]:
    """Radiograph uint8 (299, 299) and its mask uint8 (256, 256), 1 lung and 0 background.

    Depends on nothing but the arguments: `seed` and `index` are at least 0, `class_name` is a key
    of KAGGLE_PAIRS. Raises DatasetError.
    """
    if class_name not in OPACITIES:
        raise DatasetError(f"class {class_name!r}: expected one of {', '.join(OPACITIES)}")
    if seed < 0 or index < 0:
        raise DatasetError(f"seed {seed}, index {index}: expected 0 or more; choose others")
    rng = np.random.default_rng([seed, index, list(OPACITIES).index(class_name)])
    chest = draw_chest(rng)
    opacity = OPACITIES[class_name](chest, rng)
    return project_chest(chest, opacity, rng), lung_mask(chest)


def class_counts(pairs: int) -> dict[str, int]:
    """How many of `pairs` each class gets: as on Kaggle, but never below min(25, pairs // 4).

    So 21,165 pairs have exactly Kaggle's counts, 120 have 25, 26, 44 and 25, and 4 have one each.
    """
    least = min(LEAST_PER_CLASS, pairs // len(KAGGLE_PAIRS))
    rarest_first = sorted(KAGGLE_PAIRS, key=KAGGLE_PAIRS.__getitem__)
    counts, left, total = {}, pairs, sum(KAGGLE_PAIRS.values())
    for name in rarest_first:
        counts[name] = max(least, round(left * KAGGLE_PAIRS[name] / total))
        left, total = left - counts[name], total - KAGGLE_PAIRS[name]
    return {name: counts[name] for name in KAGGLE_PAIRS}


def write_dataset(
    folder: Path,
    pairs: int,
    seed: int,
    workers: int | None = None,
) -> dict[str, int]:
    """Write `pairs` synthetic pairs into `folder`, and return how many each class got.

    The folder must be absent or empty, and appears when it is complete. The same seed gives the
    same bytes with any number of `workers` (processes; None means one per core), and picture n of
    a class does not depend on `pairs`. Raises DatasetError, and CrashedError when a process is
    killed.
    """
    workers = usable_cores() if workers is None else workers
    _check(folder, pairs, seed, workers)
    counts = {name: count for name, count in class_counts(pairs).items() if count}
    with atomic_folder(folder) as root:
        for name, count in counts.items():
            (root / name / IMAGES).mkdir(parents=True)
            (root / name / MASKS).mkdir()
            (root / f"{name}{METADATA_SUFFIX}").write_bytes(_metadata(name, count, seed))
        _write_pairs(list(_chunks(root, counts, seed)), workers)
    logger.info("%s: wrote %d synthetic pairs, %s", folder, pairs, counts)
    return counts


def _check(folder: Path, pairs: int, seed: int, workers: int) -> None:
    if pairs < 1:
        raise DatasetError(f"pairs {pairs}: expected at least 1")
    if seed < 0:
        raise DatasetError(f"seed {seed}: expected 0 or more")
    if workers < 1:
        raise DatasetError(f"workers {workers}: expected at least 1")
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: is a file, expected an absent or empty folder; name another")
    if folder.is_dir() and any(folder.iterdir()):
        raise DatasetError(f"{folder}: is not empty; name an absent or empty folder")
    if folder.resolve() == Path.cwd():
        raise DatasetError(
            f"{folder}: is the current folder, which cannot be replaced; name one in it"
        )


def _chunks(root: Path, counts: dict[str, int], seed: int) -> Iterator[_Chunk]:
    for name, count in counts.items():
        for start in range(1, count + 1, CHUNK):
            indices = range(start, min(start + CHUNK, count + 1))
            yield _Chunk(root, seed, name, indices)


def _write_pairs(chunks: list[_Chunk], workers: int) -> None:
    if workers == 1:
        for chunk in chunks:
            _write_chunk(chunk)
        return
    workers = min(workers, len(chunks))
    with translated_kill("phantom", workers), open_workers(workers) as pool:
        for _ in pool.map(_write_chunk, chunks):
            pass


def _write_chunk(chunk: _Chunk) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # pictures this small gain nothing from more, and workers would fight
    try:
        for index in chunk.indices:
            _write_pair(chunk, index)
    finally:
        cv2.setNumThreads(threads)


def _write_pair(chunk: _Chunk, index: int) -> None:
    image, mask = radiograph(chunk.seed, index, chunk.class_name)
    pair = Pair(chunk.class_name, f"{chunk.class_name}-{index}")
    (chunk.root / pair.image).write_bytes(_png(image, IMAGE_PNG))
    (chunk.root / pair.mask).write_bytes(_png(cv2.merge([mask * 255] * 3), MASK_PNG))


def _png(pixels: Grey, options: tuple[int, ...]) -> bytes:
    _, encoded = cv2.imencode(".png", pixels, options)
    return bytes(encoded)


def _metadata(class_name: str, count: int, seed: int) -> bytes:
    """The class's sheet as .xlsx."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(["FILE NAME", "FORMAT", "SIZE", "URL"])
    name = "NORMAL" if class_name == "Normal" else class_name
    for index in range(1, count + 1):
        url = f"phantom:seed={seed};class={class_name};index={index}"
        sheet.append([f"{name}-{index}", "PNG", "256*256", url])
    dated = io.BytesIO()
    book.save(dated)
    return _undated(dated)


def _undated(dated: io.BytesIO) -> bytes:
    """The same workbook without the times of its making, so that equal sheets are equal files."""
    plain = io.BytesIO()
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(plain, "w") as target:
        for name in source.namelist():
            content = re.sub(
                rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"2021-01-01T00:00:00Z", source.read(name)
            )
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return plain.getvalue()
