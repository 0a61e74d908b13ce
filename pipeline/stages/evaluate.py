"""Segment the test radiographs with the trained network and score every one of them."""

from __future__ import annotations

from pathlib import Path

from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, select_split, split_rows
from pipeline.errors import StageError
from pipeline.evaluation.metrics import (
    METRICS_FILE,
    PER_CLASS,
    PER_CLASS_FILE,
    PER_IMAGE,
    PER_IMAGE_FILE,
    Metrics,
    per_class_table,
    per_image_table,
)
from pipeline.evaluation.scoring import PREDICTIONS, score_images
from pipeline.files import atomic_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.segmenter import Segmenter
from pipeline.model.training_history import TRAINED
from pipeline.params import Params


def run(params: Params, root: Path) -> str:
    """Write artifacts/evaluate; raises StageError for a missing input or an empty test split."""
    pairs = split_rows(select_split(SPLIT.read(root / SPLIT_FILE), "test"))
    predictor = _load(root / TRAINED / "model.onnx")
    with atomic_folder(root / METRICS_FILE.parent) as folder:
        predictions = folder / PREDICTIONS.name
        scored = score_images(predictor, pairs, root / "data", params.evaluate, predictions)
        table = per_image_table(scored)
        metrics = Metrics.of(table)
        PER_IMAGE.write(folder / PER_IMAGE_FILE.name, table)
        PER_CLASS.write(folder / PER_CLASS_FILE.name, per_class_table(metrics))
        metrics.write(folder / METRICS_FILE.name)
    return f"evaluate: {len(table)} test radiographs, mean Dice {metrics.dice:.4f}"


def _load(model: Path) -> Segmenter:
    if not model.is_file():
        raise StageError(f"{model}: no such file, expected the model; run the stage train first")
    return Predictor(model)
