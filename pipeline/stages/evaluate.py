"""Segment the test radiographs with the trained network and score every one of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.radiograph import Grey, read_mask, read_radiograph
from pipeline.errors import StageError
from pipeline.files import atomic_folder, write_csv, write_json
from pipeline.fingerprints import read_split, select_test
from pipeline.params import EvaluateParams, Params
from pipeline.scores import SCORES, confusion, score, summarise_classes

IDENTITY = ("image_id", "class_name", "pixel_sha256")


class Segmenter(Protocol):
    """What this stage needs of pipeline.model.predictor.Predictor."""

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Lung probabilities 0..1 at `sizes` (height, width) for uint8 images (H, W)."""
        ...


def run(params: Params, root: Path) -> str:
    """Write artifacts/evaluate; raises StageError for a missing input or an empty test split."""
    rows = select_test(read_split(root / "artifacts/split/split.csv"))
    predictor = _load(root / "artifacts/train/model.onnx")
    with atomic_folder(root / "artifacts/evaluate") as folder:
        predictions = folder / "predictions"
        table = score_images(predictor, rows, root / "data", params.evaluate, predictions)
        metrics = summarise_classes(table)
        table.to_parquet(folder / "per_image.parquet", index=False)
        _write_classes(folder / "per_class.csv", metrics["classes"])
        write_json(folder / "metrics.json", metrics)
    return f"evaluate: {len(table)} test radiographs, mean Dice {metrics['dice']:.4f}"


def _load(model: Path) -> Segmenter:
    if not model.is_file():
        raise StageError(f"{model}: no such file, expected the model; run the stage train first")
    from pipeline.model.predictor import Predictor

    return Predictor(model)


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


def _write_classes(path: Path, classes: dict[str, Any]) -> None:
    rows = [{"class_name": name, **means} for name, means in sorted(classes.items())]
    write_csv(path, ["class_name", "cases", *SCORES], rows)
