"""Scoring a network on radiographs whose masks are known."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import StageError
from pipeline.evaluation.scores import confusion, score
from pipeline.inference.segmenter import Segmenter
from pipeline.params import EvaluateParams
from pipeline.radiograph.reading import read_mask, read_radiograph

IDENTITY = ("image_id", "class_name", "pixel_sha256")


def score_images(
    predictor: Segmenter,
    rows: pd.DataFrame,
    data: Path,
    params: EvaluateParams,
    predictions: Path | None,
) -> pd.DataFrame:
    """Score `predictor` on the radiographs of `rows`, each at the size of its own mask.

    `rows` are rows of split.csv, their paths are below `data`. The result has a row per image
    with the columns of per_image.parquet, in the order of `rows`. Predicted masks are written
    below `predictions` as <image_id>.png, unless it is None. One batch is in memory at a time.
    Raises DatasetError when a file is not the one that was split or cannot be read, StageError when
    a probability is not finite.
    """
    scored: list[dict[str, Any]] = []
    for start in range(0, len(rows), params.batch_size):
        batch = rows.iloc[start : start + params.batch_size].to_dict("records")
        scored.extend(_score_batch(predictor, batch, data, params, predictions))
    return pd.DataFrame(scored)


def _score_batch(
    predictor: Segmenter,
    rows: list[dict[Hashable, Any]],
    data: Path,
    params: EvaluateParams,
    predictions: Path | None,
) -> Iterator[dict[str, Any]]:
    images = [read_radiograph(data / row["image_path"], row["image_sha256"]) for row in rows]
    truths = [read_mask(data / row["mask_path"], row["mask_sha256"]) for row in rows]
    sizes = [(truth.shape[0], truth.shape[1]) for truth in truths]
    probabilities = predictor.predict(images, sizes)
    for row, truth, lung in zip(rows, truths, probabilities, strict=True):
        mask = _binarise(lung, params.threshold, row["image_id"])
        if predictions:
            _write_mask(predictions / f"{row['image_id']}.png", mask)
        counts = confusion(mask, truth)
        yield {name: row[name] for name in IDENTITY} | counts._asdict() | score(counts)


def _binarise(lung: NDArray[np.float32], threshold: float, image_id: str) -> NDArray[np.uint8]:
    if not np.isfinite(lung).all():
        raise StageError(
            f"{image_id}: the model gives probabilities that are not finite, expected 0 to 1; "
            "train it again",
        )
    return (lung >= threshold).astype(np.uint8)


def _write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask * np.uint8(255)).save(path, format="PNG")
