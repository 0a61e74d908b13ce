"""Segment the test radiographs with the trained network and score every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.dataset.splits.table import read_split, select_test
from pipeline.errors import StageError
from pipeline.evaluation.scores import SCORES, summarise_classes
from pipeline.evaluation.scoring import score_images
from pipeline.files import atomic_folder, write_csv, write_json
from pipeline.inference.segmenter import Segmenter
from pipeline.params import Params


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
    from pipeline.inference.predictor import Predictor

    return Predictor(model)


def _write_classes(path: Path, classes: dict[str, Any]) -> None:
    rows = [{"class_name": name, **means} for name, means in sorted(classes.items())]
    write_csv(path, ["class_name", "cases", *SCORES], rows)
