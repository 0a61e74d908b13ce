"""How the network answers to radiographs that are changed: how stable, and how robust.

`tta_dice`, agreement over test-time augmentation, is the mean Dice between all pairs of the answers
to eight harmless changes of a radiograph, each undone in its answer: as it is, darker, brighter and
turned by four degrees, each also mirrored. It needs no reference; pairwise Dice is the simple
predictor of failures that Zenk 2024 (arXiv 2406.03323) finds best, there of an ensemble.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.confidence import contour_entropy, soft_dice
from pipeline.evaluation.perturbations import (
    GRADES,
    MOVEMENTS,
    PERTURBATIONS,
    SHADINGS,
    bend,
    move,
    rotation,
)
from pipeline.evaluation.scores import confusion, score
from pipeline.evaluation.scoring import Answer, LabelledPair, binarise
from pipeline.inference.segmenter import Segmenter
from pipeline.radiograph.grey import Grey
from pipeline.table_files import TableFile, columns_of, table_of

ROBUSTNESS_FILE = Path("artifacts/evaluate/robustness.parquet")
"""Below the project's root."""

UNCHANGED = "none"
"""The perturbation of a radiograph as it is."""
DARKER, BRIGHTER, TURN = 1.3, 0.77, 4.0


@dataclass(frozen=True)
class Changed:
    """A row of robustness.parquet: the answer to a radiograph that was changed."""

    image_id: str
    class_name: str
    group: str
    perturbation: str
    grade: int
    """1, 2 or 3; 0 is the radiograph as it is."""
    strength: float
    """0 for the radiograph as it is and for the twin, as their unit is empty."""
    unit: str
    twin: int
    """1 for the radiograph's twin, which failures are predicted on: moved and shaded, strongly."""
    dice: float
    soft_dice: float
    contour_entropy: float
    tta_dice: float
    """NaN but for the twin and the radiograph as it is."""


ROBUSTNESS = TableFile(columns_of(Changed), "the stage evaluate")


def choose_radiographs(pairs: Sequence[LabelledPair], count: int) -> set[str]:
    """The image_ids of up to `count` radiographs, from the classes in turn, by their pixels."""
    waiting: dict[str, list[LabelledPair]] = {}
    for pair in sorted(pairs, key=lambda one: (one.pixel_sha256, one.image_id)):
        waiting.setdefault(pair.class_name, []).append(pair)
    chosen: set[str] = set()
    for name in cycle(sorted(waiting)):
        if len(chosen) >= min(count, len(pairs)):
            return chosen
        if waiting[name]:
            chosen.add(waiting[name].pop(0).image_id)
    return chosen


def change_radiograph(
    predictor: Segmenter, pair: LabelledPair, answer: Answer, threshold: float
) -> Iterator[Changed]:
    """The answers to a radiograph as it is, to each change of it, and to its twin.

    Raises StageError when a probability is not finite.
    """
    size = (answer.truth.shape[0], answer.truth.shape[1])

    def asked(image: Grey, truth: NDArray[np.uint8]) -> Answer:
        (lung,) = predictor.predict([image], [size])
        return Answer(image, truth, lung, binarise(lung, threshold, pair.image_id))

    stable = agreement(predictor, answer.image, size, threshold, pair.image_id)
    yield _changed(pair, answer, UNCHANGED, 0, tta_dice=stable)
    for name, perturbation in PERTURBATIONS.items():
        for grade in GRADES:
            changed = asked(*perturbation.apply(answer.image, answer.truth, grade))
            yield _changed(pair, changed, name, grade)
    moved, shaded = twin_changes(pair.image_id)
    image, truth = PERTURBATIONS[moved].apply(answer.image, answer.truth, GRADES[-1])
    changed = asked(*PERTURBATIONS[shaded].apply(image, truth, GRADES[-1]))
    stable = agreement(predictor, changed.image, size, threshold, pair.image_id)
    yield _changed(pair, changed, f"{moved}, {shaded}", GRADES[-1], tta_dice=stable, twin=1)


def twin_changes(image_id: str) -> tuple[str, str]:
    """The movement and the change of grey values that make a radiograph's twin, by its name."""
    chosen = zlib.crc32(image_id.encode())
    return MOVEMENTS[chosen % len(MOVEMENTS)], SHADINGS[chosen // 7 % len(SHADINGS)]


def _changed(
    pair: LabelledPair,
    answer: Answer,
    name: str,
    grade: int,
    tta_dice: float = math.nan,
    twin: int = 0,
) -> Changed:
    known = PERTURBATIONS.get(name)
    return Changed(
        image_id=pair.image_id,
        class_name=pair.class_name,
        group=pair.group,
        perturbation=name,
        grade=grade,
        strength=known.strengths[grade - 1] if known else 0.0,
        unit=known.unit if known else "",
        twin=twin,
        dice=score(confusion(answer.mask, answer.truth)).dice,
        soft_dice=soft_dice(answer.probability, answer.mask),
        contour_entropy=contour_entropy(answer.probability, answer.mask),
        tta_dice=tta_dice,
    )


def robustness_table(rows: Iterable[Changed]) -> pd.DataFrame:
    """The table of these rows, in their order."""
    return table_of(rows, ROBUSTNESS.columns)


def agreement(
    predictor: Segmenter, image: Grey, size: tuple[int, int], threshold: float, image_id: str
) -> float:
    """`tta_dice` of a radiograph (H, W), 0..255, from masks of `size`; 0..1 (stable).

    Raises StageError when a probability is not finite.
    """
    turned = move(image, rotation(TURN), image.shape)
    greys = [image, bend(image, DARKER), bend(image, BRIGHTER), turned]
    answers = predictor.predict([*greys, *(grey[:, ::-1].copy() for grey in greys)], [size] * 8)
    upright = [*answers[:4], *(lung[:, ::-1] for lung in answers[4:])]
    upright = [
        move(np.ascontiguousarray(lung), rotation(-TURN), image.shape) if k % 4 == 3 else lung
        for k, lung in enumerate(upright)
    ]
    masks = [binarise(lung, threshold, image_id) for lung in upright]
    return float(np.mean([_dice(one, other) for one, other in combinations(masks, 2)]))


def _dice(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return score(confusion(one, other)).dice
