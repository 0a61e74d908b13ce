"""A project before and after the evaluate stage, with a predictor that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.conventions import STANDARD
from pipeline.dataset.layout import Quarantined, list_dataset
from pipeline.dataset.manifest import QUARANTINE, QUARANTINE_FILE, quarantine_table
from pipeline.dataset.splits.split_summary import SPLIT_SUMMARY_FILE, summarise_split
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, select_split, split_rows
from pipeline.dataset.validation.doubtful import DOUBTFUL, DOUBTFUL_FILE
from pipeline.dataset.validation.validation_summary import (
    VALIDATION_SUMMARY_FILE,
    ValidationSummary,
)
from pipeline.evaluation.asked import ASKED, ASKED_FILE, ask_untested, asked_table
from pipeline.evaluation.calibration import CALIBRATION, CALIBRATION_FILE, calibration_table
from pipeline.evaluation.failure_prediction import (
    FAILURE_PREDICTION,
    FAILURE_PREDICTION_FILE,
    rank_failures,
)
from pipeline.evaluation.metrics import METRICS_FILE, Metrics
from pipeline.evaluation.per_image import PER_IMAGE, PER_IMAGE_FILE, per_image_table
from pipeline.evaluation.robustness import ROBUSTNESS, ROBUSTNESS_FILE, robustness_table
from pipeline.files import sha256_file
from pipeline.inference.model_files import MODEL_FILES
from pipeline.inference.segmenter import Segmenter
from pipeline.model.training_history import (
    HISTORY,
    HISTORY_FILE,
    TRAIN_SUMMARY_FILE,
    TRAINED,
    TrainSummary,
)
from pipeline.params import EvaluateParams, SplitParams
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import pixel_sha256, read_mask, read_radiograph
from pipeline.stages.evaluate import Found, evaluate_pairs
from pipeline.table_files import table_of
from tests.conftest import write_dataset

PARAMS = EvaluateParams(threshold=0.5, batch_size=4, robustness_cases=2)


class StandIn:
    """Takes dark pixels for lung, moved aside by 0 to 5 pixels depending on the radiograph."""

    conventions = (STANDARD,)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[NDArray[np.float32]]:
        self.batches.append(len(images))
        wanted = [image.shape for image in images] if sizes is None else sizes
        return [self._segment(image, size) for image, size in zip(images, wanted, strict=True)]

    def _segment(self, image: Grey, size: tuple[int, ...]) -> NDArray[np.float32]:
        moved = np.roll(image < 125, int(image.sum()) % 6, axis=1).astype(np.float32)
        return np.asarray(cv2.resize(moved, size[::-1], interpolation=cv2.INTER_LINEAR))


class Bilingual(StandIn):
    """Knows `heart`, too, where lung goes on for a tenth of the picture's height below."""

    conventions = (STANDARD, "heart")

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[NDArray[np.float32]]:
        told = [STANDARD] * len(images) if conventions is None else conventions
        return [
            extend_lung(answer) if name == "heart" else answer
            for answer, name in zip(super().predict(images, sizes), told, strict=True)
        ]


def extend_lung(lung: NDArray[Any]) -> NDArray[Any]:
    """Lung (H, W), and what is less than a tenth of the height below it."""
    lower = lung.copy()
    for rows in range(1, len(lung) // 10):
        lower[rows:] = np.maximum(lower[rows:], lung[:-rows])
    return lower


def draw_otherwise(root: Path, split: pd.DataFrame, *image_ids: str) -> pd.DataFrame:
    """The split after the masks of these pairs are drawn as `heart`."""
    for place in split.index[split["image_id"].isin(image_ids)]:
        path = root / "data" / str(split.loc[place, "mask_path"])
        Image.fromarray(extend_lung(read_mask(path)) * np.uint8(255)).save(path)
        split.loc[place, "mask_sha256"] = sha256_file(path)
    return split


def write_bilingual(root: Path, test: int, **classes: int) -> None:
    """All that the report reads, of a network and a dataset of two conventions.

    The class COVID is drawn as `heart`, a person confirmed its first pair, and the mask of the
    first pair of Normal is, too, though that is said to be standard.
    """
    write_split(root, test, **classes)
    split = SPLIT.read(root / SPLIT_FILE)
    heart = split["class_name"] == "COVID"
    split.loc[heart, "convention"], split.loc[heart, "convention_by"] = "heart", "import"
    split.loc[split["image_id"] == "COVID/COVID-1", "convention_by"] = "person"
    split = draw_otherwise(root, split, *split.loc[heart, "image_id"], "Normal/Normal-1")
    SPLIT.write(root / SPLIT_FILE, split)
    write_scores(root, split_rows(select_split(split, "test")), Bilingual())
    others = split_rows(split[split["split"] != "test"])
    untested = asked_table(ask_untested(Bilingual(), others, root / "data", PARAMS))
    tested = ASKED.read(root / ASKED_FILE)
    ASKED.write(root / ASKED_FILE, pd.concat([tested, untested], ignore_index=True))
    write_training(root)


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
    rows = rows.assign(convention=STANDARD, convention_by="")
    SPLIT.write(root / SPLIT_FILE, rows)
    return split_rows(select_split(rows, "test"))


def write_evaluated(root: Path, test: int, **classes: int) -> None:
    """Write all that the report stage reads."""
    write_scores(root, write_split(root, test, **classes))
    write_training(root)


def write_scores(root: Path, rows: list[SplitRow], network: Segmenter | None = None) -> None:
    """Score the radiographs of `rows` and write what the report stage reads of it."""
    folder = root / METRICS_FILE.parent
    write_results(folder, evaluate_pairs(network or StandIn(), rows, root / "data", PARAMS, folder))
    write_counts(root)


def write_results(folder: Path, found: Found) -> None:
    """The tables of the evaluate stage."""
    table, robustness = per_image_table(found.scores), robustness_table(found.changed)
    PER_IMAGE.write(folder / PER_IMAGE_FILE.name, table)
    CALIBRATION.write(folder / CALIBRATION_FILE.name, calibration_table(found.bins))
    ASKED.write(folder / ASKED_FILE.name, asked_table(found.asked))
    ROBUSTNESS.write(folder / ROBUSTNESS_FILE.name, robustness)
    ranked = rank_failures(table, robustness)
    FAILURE_PREDICTION.write(folder / FAILURE_PREDICTION_FILE.name, ranked)
    Metrics.of(table).write(folder / METRICS_FILE.name)


def write_counts(root: Path) -> None:
    """What validate and split count, of the rows of split.csv."""
    rows = SPLIT.read(root / SPLIT_FILE)
    summary = summarise_split(
        rows.assign(position=0.5, patient=""),
        {"pixels": 0, "near_duplicates": 0, "origin": 0},
        SplitParams(
            val=0.15,
            test=0.15,
            near_duplicate_distance=72,
            max_source_pairs=30,
            max_patient_pairs=30,
            collections=[],
        ),
    )
    summary.write(root / SPLIT_SUMMARY_FILE)
    refused = Quarantined("", "Normal/images/broken.png", "truncated", "ends early", "export again")
    DOUBTFUL.write(root / DOUBTFUL_FILE, table_of([], DOUBTFUL.columns))
    QUARANTINE.write(root / QUARANTINE_FILE, quarantine_table([refused]))
    ValidationSummary(
        pairs=len(rows),
        quarantined=1,
        reasons={"truncated": 1},
        label_masks=0,
        flags={"one_lung": 2},
        conventions={},
        classes=rows["class_name"].value_counts().to_dict(),
        median_lung_area={},
        shifts={},
        doubtful_conventions=0,
        sheets={},
        critical=0,
        warnings=0,
    ).write(root / VALIDATION_SUMMARY_FILE)


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
    TrainSummary(
        epochs=4,
        best_epoch=3,
        best_val_loss=0.2,
        best_val_dice=0.8,
        best_val_iou=0.8,
        best_val_accuracy=0.8,
        network_parameters=1234,
        onnx_max_difference=0.0,
    ).write(root / TRAIN_SUMMARY_FILE)
