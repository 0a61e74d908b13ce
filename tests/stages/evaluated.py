"""A project before and after the evaluate stage, with a predictor that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, select_split, split_rows
from pipeline.evaluation.metrics import (
    METRICS_FILE,
    PER_IMAGE,
    PER_IMAGE_FILE,
    Metrics,
    per_image_table,
)
from pipeline.evaluation.scoring import answer_pairs, score_answer, write_answer
from pipeline.files import sha256_file
from pipeline.inference.model_files import MODEL_FILES
from pipeline.model.training_history import HISTORY, HISTORY_FILE, TRAINED
from pipeline.params import EvaluateParams
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import pixel_sha256, read_radiograph
from tests.conftest import write_dataset

PARAMS = EvaluateParams(threshold=0.5, batch_size=4, robustness_cases=2)


class StandIn:
    """Takes dark pixels for lung, moved aside by 0 to 5 pixels depending on the radiograph."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[NDArray[np.float32]]:
        self.batches.append(len(images))
        wanted = [image.shape for image in images] if sizes is None else sizes
        return [self._segment(image, size) for image, size in zip(images, wanted, strict=True)]

    def _segment(self, image: Grey, size: tuple[int, ...]) -> NDArray[np.float32]:
        moved = np.roll(image < 125, int(image.sum()) % 6, axis=1).astype(np.float32)
        return np.asarray(cv2.resize(moved, size[::-1], interpolation=cv2.INTER_LINEAR))


def write_split(root: Path, test: int, **classes: int) -> list[SplitRow]:
    """Write data/ and split.csv with `test` test rows of each class; returns the test rows."""
    write_dataset(root / "data", classes)
    rows = pd.DataFrame(
        {
            "image_id": pair.image_id,
            "class_name": pair.class_name,
            "image_path": pair.image.as_posix(),
            "mask_path": pair.mask.as_posix(),
            "image_sha256": sha256_file(root / "data" / pair.image),
            "mask_sha256": sha256_file(root / "data" / pair.mask),
            "pixel_sha256": pixel_sha256(read_radiograph(root / "data" / pair.image)),
            "group": pair.image_id,
            "source": "",
            "spacing": np.nan,
        }
        for pair in list_dataset(root / "data").pairs
    )
    rank = rows.groupby("class_name").cumcount()
    rows["split"] = np.select([rank < test, rank < test + 1], ["test", "val"], "train")
    SPLIT.write(root / SPLIT_FILE, rows)
    return split_rows(select_split(rows, "test"))


def write_evaluated(root: Path, test: int, **classes: int) -> None:
    """Write all that the report stage reads."""
    write_scores(root, write_split(root, test, **classes))
    write_training(root)


def write_scores(root: Path, rows: list[SplitRow]) -> None:
    """Score the radiographs of `rows` and write what the report stage reads of it."""
    scored = []
    for pair, answer in answer_pairs(StandIn(), rows, root / "data", PARAMS):
        write_answer(root / METRICS_FILE.parent, pair.image_id, answer)
        scored.append(score_answer(pair, answer))
    table = per_image_table(scored)
    PER_IMAGE.write(root / PER_IMAGE_FILE, table)
    Metrics.of(table).write(root / METRICS_FILE)


def write_training(root: Path) -> None:
    """Write a network's files and a history whose third epoch is the best."""
    (root / TRAINED).mkdir(parents=True)
    for name in MODEL_FILES:
        (root / TRAINED / name).write_bytes(b"weights")
    losses, dice = [0.4, 0.3, 0.2, 0.25], [0.6, 0.7, 0.8, 0.75]
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": losses, "val_loss": losses})
    history = history.assign(dice=dice, val_dice=dice, iou=dice, val_iou=dice)
    history = history.assign(accuracy=dice, val_accuracy=dice, learning_rate=0.001)
    HISTORY.write(root / HISTORY_FILE, history)
