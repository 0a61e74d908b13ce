"""Masks for radiographs by a released model."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError, UnreadableError
from pipeline.files import atomic_path
from pipeline.inference.segmenter import Segmenter
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import SUFFIXES, read_radiograph
from pipeline.release.registry import fetch_release
from pipeline.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionRow:
    """A row of predictions.csv; without a mask only `path` and `error` are filled in."""

    path: str
    mask: str = ""
    width: int | None = None
    height: int | None = None
    """Of the radiograph and its mask, pixels."""
    lung_area: str = ""
    """Share of the picture that is lung."""
    mean_confidence: str = ""
    error: str = ""


@dataclass(frozen=True)
class Predictions:
    """How many radiographs got a mask, and the problem of each one that did not."""

    done: int
    problems: list[str]


def predict_files(
    settings: Settings,
    paths: Sequence[Path],
    out: Path,
    model_uri: str,
    level: int = 0,
) -> Predictions:
    """Write a mask PNG per radiograph and predictions.csv to `out`.

    `level` 1, 2, ... is the part of a network with deep supervision up to that head, 0 all of it.
    Each mask has its radiograph's own size. lung_area is the share of the picture that is lung;
    mean_confidence is the mean over pixels of the probability of the class chosen, 0.5 to 1. What
    cannot be read is listed with its error and skipped.
    """
    files = list_radiographs(paths)
    problems = []
    with tempfile.TemporaryDirectory() as temporary:
        release = fetch_release(settings, model_uri, Path(temporary))
        segmenter = release.model.segmenter(level)
        with (
            atomic_path(out / "predictions.csv") as partial,
            partial.open("w", newline="") as table,
        ):
            writer = csv.DictWriter(
                table, [field.name for field in fields(PredictionRow)], lineterminator="\n"
            )
            writer.writeheader()
            for path, mask in files:
                row = _predict_one(segmenter, release.threshold, path, out / mask)
                writer.writerow(asdict(row))
                if row.error:
                    problems.append(row.error)
    return Predictions(len(files) - len(problems), problems)


def list_radiographs(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return each radiograph with the relative path of its mask.

    Folders are searched for PNG, JPEG and DICOM files, by suffix in either case. Raises
    DatasetError for a path that does not exist, for none at all, or when two radiographs
    would share one mask.
    """
    files = [pair for path in paths for pair in _expand(path)]
    if not files:
        raise DatasetError(f"{', '.join(map(str, paths))}: found no .png, .jpg or .dcm radiograph")
    by_mask: dict[Path, Path] = {}
    for path, mask in files:
        if by_mask.setdefault(mask, path) != path:
            raise DatasetError(
                f"{by_mask[mask]} and {path}: both masks would be {mask}; rename one"
            )
    return files


def _expand(path: Path) -> Iterator[tuple[Path, Path]]:
    if path.is_file():
        yield path, Path(f"{path.stem}.png")
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield file, file.relative_to(path).with_suffix(".png")
    else:
        raise DatasetError(f"{path}: no such file or folder")


def _predict_one(
    segmenter: Segmenter,
    threshold: float,
    path: Path,
    mask: Path,
) -> PredictionRow:
    try:
        radiograph = read_radiograph(path)
    except UnreadableError as error:
        log.warning("skipped: %s", error)
        return PredictionRow(str(path), error=str(error))
    (probability,) = segmenter.predict([radiograph])
    lung = (probability >= threshold).astype(np.uint8)
    _write_mask(mask, lung * np.uint8(255))
    return PredictionRow(
        str(path),
        str(mask),
        width=radiograph.shape[1],
        height=radiograph.shape[0],
        lung_area=f"{lung.mean():.4f}",
        mean_confidence=f"{confidence(probability):.4f}",
    )


def confidence(probability: NDArray[np.float32]) -> float:
    """Mean over pixels of the probability of the class chosen at 0.5: 0.5 unsure, 1 certain."""
    return float(np.maximum(probability, 1 - probability).mean())


def _write_mask(path: Path, mask: Grey) -> None:
    encoded, png = cv2.imencode(".png", mask)
    if not encoded:
        raise DatasetError(f"{path}: the mask cannot be encoded as PNG")
    with atomic_path(path) as partial:
        partial.write_bytes(png.tobytes())
