"""Segment the test radiographs with the trained network and score every one of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, select_split, split_rows
from pipeline.errors import StageError
from pipeline.evaluation.asked import (
    ASKED,
    ASKED_FILE,
    AskedAnswer,
    AskedIn,
    answer_in_all,
    ask_untested,
    asked_table,
    better_explained,
)
from pipeline.evaluation.calibration import CALIBRATION, CALIBRATION_FILE, calibration_table
from pipeline.evaluation.confidence import Bins
from pipeline.evaluation.failure_prediction import (
    FAILURE_PREDICTION,
    FAILURE_PREDICTION_FILE,
    rank_failures,
)
from pipeline.evaluation.metrics import (
    METRICS_FILE,
    PER_CLASS,
    PER_CLASS_FILE,
    Metrics,
    per_class_table,
)
from pipeline.evaluation.per_image import PER_IMAGE, PER_IMAGE_FILE, ImageScores, per_image_table
from pipeline.evaluation.robustness import (
    ROBUSTNESS,
    ROBUSTNESS_FILE,
    Changed,
    change_radiograph,
    choose_radiographs,
    robustness_table,
)
from pipeline.evaluation.scoring import answer_pairs, score_answer, write_answer
from pipeline.files import atomic_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.segmenter import Segmenter
from pipeline.model.training_history import TRAINED
from pipeline.params import EvaluateParams, Params

log = logging.getLogger(__name__)


@dataclass
class Found:
    """What evaluating the test radiographs gives, one after the other."""

    scores: list[ImageScores] = field(default_factory=list)
    bins: dict[str, Bins] = field(default_factory=dict)
    """By class."""
    changed: list[Changed] = field(default_factory=list)
    asked: list[AskedAnswer] = field(default_factory=list)
    """In every convention, where the network knows several."""


def run(params: Params, root: Path) -> str:
    """Write artifacts/evaluate; raises StageError for a missing input or an empty test split."""
    split = SPLIT.read(root / SPLIT_FILE)
    pairs = split_rows(select_split(split, "test"))
    others = split_rows(split[split["split"] != "test"].sort_values("image_id"))
    predictor = _load(root / TRAINED / "model.onnx")
    with atomic_folder(root / METRICS_FILE.parent) as folder:
        found = evaluate_pairs(predictor, pairs, root / "data", params.evaluate, folder)
        table, robustness = per_image_table(found.scores), robustness_table(found.changed)
        metrics = Metrics.of(table)
        PER_IMAGE.write(folder / PER_IMAGE_FILE.name, table)
        PER_CLASS.write(folder / PER_CLASS_FILE.name, per_class_table(metrics))
        untested = ask_untested(predictor, others, root / "data", params.evaluate)
        asked = asked_table([*found.asked, *untested])
        ASKED.write(folder / ASKED_FILE.name, asked)
        CALIBRATION.write(folder / CALIBRATION_FILE.name, calibration_table(found.bins))
        ROBUSTNESS.write(folder / ROBUSTNESS_FILE.name, robustness)
        ranked = rank_failures(table, robustness)
        FAILURE_PREDICTION.write(folder / FAILURE_PREDICTION_FILE.name, ranked)
        metrics.write(folder / METRICS_FILE.name)
    _warn(predictor, pairs, asked)
    low, high = metrics.intervals["dice"]
    return (
        f"evaluate: {len(table)} test radiographs, mean Dice {metrics.dice:.4f} "
        f"({low:.4f} to {high:.4f})"
    )


def _warn(predictor: Segmenter, pairs: list[SplitRow], asked: pd.DataFrame) -> None:
    strange = sorted({pair.convention for pair in pairs} - set(predictor.conventions))
    if strange:
        log.warning(
            "evaluate: the network knows no convention %s; it was asked for %s there",
            ", ".join(strange),
            predictor.conventions[0],
        )
    if better := better_explained(asked):
        log.warning(
            "evaluate: another convention explains %d masks better; the report shows them",
            len(better),
        )


def _load(model: Path) -> Segmenter:
    if not model.is_file():
        raise StageError(f"{model}: no such file, expected the model; run the stage train first")
    return Predictor(model)


def evaluate_pairs(
    predictor: Segmenter, pairs: list[SplitRow], data: Path, params: EvaluateParams, folder: Path
) -> Found:
    """Score every pair, write its answer below `folder`, and change some of the radiographs.

    The paths of the pairs are below `data`. Raises DatasetError when a file is not the one that was
    split, StageError when a probability is not finite.
    """
    found, chosen = Found(), choose_radiographs(pairs, params.robustness_cases)
    for pair, answer in answer_pairs(predictor, pairs, data, params):
        write_answer(folder, pair.image_id, answer)
        scores = score_answer(pair, answer)
        found.asked += answer_in_all(predictor, pair, answer, params.threshold)
        if pair.image_id in chosen:
            told = AskedIn(predictor, pair.convention)
            changed = list(change_radiograph(told, pair, answer, params.threshold))
            found.changed += changed
            scores = replace(scores, tta_dice=changed[0].tta_dice)
        found.scores.append(scores)
        of_class = found.bins.get(pair.class_name)
        found.bins[pair.class_name] = of_class + answer.bins if of_class else answer.bins
    return found
