"""What the stages before the report left, read and checked against each other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.dataset.manifest import QUARANTINE, QUARANTINE_FILE
from pipeline.dataset.splits.split_summary import SPLIT_SUMMARY_FILE, SplitSummary
from pipeline.dataset.splits.table import (
    SPLIT,
    SPLIT_FILE,
    data_sha256,
    select_split,
    test_split_sha256,
)
from pipeline.dataset.validation.doubtful import DOUBTFUL, DOUBTFUL_FILE
from pipeline.dataset.validation.validation_summary import (
    VALIDATION_SUMMARY_FILE,
    ValidationSummary,
)
from pipeline.errors import StageError
from pipeline.evaluation.asked import ASKED, ASKED_FILE
from pipeline.evaluation.calibration import CALIBRATION, CALIBRATION_FILE
from pipeline.evaluation.failure_prediction import FAILURE_PREDICTION, FAILURE_PREDICTION_FILE
from pipeline.evaluation.metrics import METRICS_FILE, Metrics, differing_metrics
from pipeline.evaluation.per_image import PER_IMAGE, PER_IMAGE_FILE
from pipeline.evaluation.robustness import ROBUSTNESS, ROBUSTNESS_FILE
from pipeline.evaluation.visual_report import ReportHashes
from pipeline.files import sha256_file
from pipeline.fingerprints import code_sha256
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.model.training_history import (
    HISTORY,
    HISTORY_FILE,
    TRAIN_SUMMARY_FILE,
    TRAINED,
    TrainSummary,
)
from pipeline.params import Params


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report is made of, but for the pictures; `root` is the project's."""

    root: Path
    params: Params
    validation: ValidationSummary
    quarantine: pd.DataFrame
    split: pd.DataFrame
    split_summary: SplitSummary
    training: TrainSummary
    history: pd.DataFrame
    per_image: pd.DataFrame
    metrics: Metrics
    calibration: pd.DataFrame
    robustness: pd.DataFrame
    failure_prediction: pd.DataFrame
    asked: pd.DataFrame
    """In every convention; without rows where the network knows one."""
    doubtful: pd.DataFrame
    """The pairs of the dataset whose mask looks like another convention."""

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss."""
        return int(self.history["epoch"].iloc[int(self.history["val_loss"].argmin())])

    @property
    def classes(self) -> list[str]:
        """Those with test radiographs, sorted."""
        return sorted(self.metrics.classes)

    @cached_property
    def hashes(self) -> ReportHashes:
        """What the report is about."""
        files = {
            "metrics_sha256": METRICS_FILE,
            "per_image_sha256": PER_IMAGE_FILE,
            "calibration_sha256": CALIBRATION_FILE,
            "robustness_sha256": ROBUSTNESS_FILE,
            "failure_prediction_sha256": FAILURE_PREDICTION_FILE,
            **({} if self.asked.empty else {"conventions_sha256": ASKED_FILE}),
            "split_sha256": SPLIT_FILE,
        }
        return ReportHashes(
            model_sha256=model_sha256(self.root / TRAINED),
            test_split_sha256=test_split_sha256(select_split(self.split, "test")),
            data_sha256=data_sha256(self.split),
            code_sha256=code_sha256("report"),
            params_sha256=_params_sha256(self.params),
            **{name: sha256_file(self.root / path) for name, path in files.items()},
        )


def _params_sha256(params: Params) -> str:
    """Of the values, as DVC tracks them: a comment in params.yaml changes nothing."""
    # No stage depends on the section `stages`: the report of another number of parts is the same.
    values = params.model_dump(mode="json", by_alias=True, exclude={"stages"})
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_inputs(root: Path, params: Params) -> ReportInputs:
    """Read the inputs of the report; raises StageError when one is missing or they disagree."""
    for name in MODEL_FILES:
        _demand(root / TRAINED / name, "train")
    inputs = ReportInputs(
        root=root,
        params=params,
        validation=ValidationSummary.read(root / VALIDATION_SUMMARY_FILE),
        quarantine=QUARANTINE.read(root / QUARANTINE_FILE),
        split=SPLIT.read(root / SPLIT_FILE),
        split_summary=SplitSummary.read(root / SPLIT_SUMMARY_FILE),
        training=TrainSummary.read(root / TRAIN_SUMMARY_FILE),
        history=HISTORY.read(root / HISTORY_FILE),
        per_image=PER_IMAGE.read(root / PER_IMAGE_FILE),
        metrics=Metrics.read(root / METRICS_FILE),
        calibration=CALIBRATION.read(root / CALIBRATION_FILE),
        robustness=ROBUSTNESS.read(root / ROBUSTNESS_FILE),
        failure_prediction=FAILURE_PREDICTION.read(root / FAILURE_PREDICTION_FILE),
        asked=ASKED.read(root / ASKED_FILE),
        doubtful=DOUBTFUL.read(root / DOUBTFUL_FILE),
    )
    _refuse_other_split(inputs.per_image, select_split(inputs.split, "test"))
    _refuse_other_metrics(inputs.metrics, inputs.per_image)
    _refuse_history(inputs.history)
    _refuse_other_answers(inputs.asked, inputs.split)
    return inputs


def _demand(path: Path, stage: str) -> None:
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected it from {stage}; run the stage {stage}")


def _refuse_other_split(per_image: pd.DataFrame, test: pd.DataFrame) -> None:
    if test_split_sha256(per_image) == test_split_sha256(test):
        return
    differing = set(per_image["image_id"]) ^ set(test["image_id"])
    reason = f"{min(differing)} is in one only" if differing else "their pixels differ"
    raise StageError(
        f"per_image.parquet: found {len(per_image)} radiographs, expected the {len(test)} of the "
        f"test split, {reason}; run the stage evaluate again",
    )


def _refuse_other_metrics(metrics: Metrics, per_image: pd.DataFrame) -> None:
    differing = differing_metrics(metrics, per_image)
    if differing:
        raise StageError(
            f"metrics.json: found another {differing[0]} than follows from per_image.parquet, "
            "expected the same; run the stage evaluate again",
        )


def _refuse_other_answers(asked: pd.DataFrame, split: pd.DataFrame) -> None:
    differing = set(asked["image_id"]) ^ set(split["image_id"])
    if len(asked) and differing:
        raise StageError(
            f"conventions.csv: found {asked['image_id'].nunique()} radiographs, expected the "
            f"{len(split)} of split.csv, {min(differing)} is in one only; run the "
            "stage evaluate again",
        )


def _refuse_history(history: pd.DataFrame) -> None:
    if not np.isfinite(history["val_loss"]).any():
        raise StageError(
            f"history.csv: found no finite val_loss in {len(history)} epochs, expected at least "
            "one; run the stage train again",
        )
