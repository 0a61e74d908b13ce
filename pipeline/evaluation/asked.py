"""conventions.csv: each radiograph answered in every annotation convention of the network.

Those of training and validation, too: which convention explains their masks best is what a person
may want to change before the next training. With one convention there is nothing to compare, and
the table has no rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.conventions import convention_places, nearest_conventions
from pipeline.evaluation.scores import confusion, score
from pipeline.evaluation.scoring import Answer, LabelledPair, answer_pairs, binarise
from pipeline.inference.segmenter import Segmenter
from pipeline.params import EvaluateParams
from pipeline.radiograph.grey import Grey
from pipeline.table_files import TableFile, columns_of, rows_of, table_of

log = logging.getLogger(__name__)

ASKED_FILE = Path("artifacts/evaluate/conventions.csv")
"""Below the project's root."""

CLEAR = 0.01
"""By so much of Dice another convention must explain a mask better to be named.

The answers in two conventions mostly differ by 0.05 and more.
"""


@dataclass(frozen=True, kw_only=True)
class AskedAnswer:
    """A row of conventions.csv: a radiograph answered in one convention."""

    image_id: str
    class_name: str
    split: str
    """train, val or test."""
    convention: str
    """Of its mask, and who says so."""
    convention_by: str
    asked: str
    """What the network was asked for."""
    dice: float
    """Of this answer with the mask."""
    predicted_area: float
    """Share of the mask's pixels, 0..1."""
    lung_area: float
    """The same of the mask."""


ASKED = TableFile(columns_of(AskedAnswer), "the stage evaluate")


@dataclass(frozen=True)
class BetterExplained:
    """A radiograph whose mask the answer in another convention fits clearly better."""

    image_id: str
    class_name: str
    split: str
    convention: str
    convention_by: str
    asked: str
    """The convention that fits best."""
    own_dice: float
    dice: float
    """In that convention."""


def answer_in_all(
    predictor: Segmenter, pair: LabelledPair, answer: Answer, threshold: float
) -> Iterator[AskedAnswer]:
    """A row for each convention of the network, in its order; none where it has only one.

    `answer` is the one in the pair's own convention, or in the network's default where it does not
    know that one. Raises StageError when a probability is not finite.
    """
    known = predictor.conventions
    if len(known) < 2:
        return
    own = pair.convention if pair.convention in known else known[0]
    for asked in known:
        mask = answer.mask
        if asked != own:
            mask = predict_in(predictor, asked, answer.image, mask.shape, threshold)
        yield AskedAnswer(
            image_id=pair.image_id,
            class_name=pair.class_name,
            split=pair.split,
            convention=pair.convention,
            convention_by=pair.convention_by,
            asked=asked,
            dice=score(confusion(mask, answer.truth)).dice,
            predicted_area=float(mask.mean(dtype=np.float64)),
            lung_area=float(answer.truth.mean(dtype=np.float64)),
        )


def ask_untested(
    predictor: Segmenter, pairs: Sequence[LabelledPair], data: Path, params: EvaluateParams
) -> Iterator[AskedAnswer]:
    """The rows of pairs that were trained on or validated.

    Their own convention is at an advantage: the network has learned their masks as of that one.
    Raises DatasetError when a file is not the one that was split, StageError as above.
    """
    if len(predictor.conventions) < 2:
        return
    log.info("evaluate: asking in every convention for the %d other radiographs", len(pairs))
    for pair, answer in answer_pairs(predictor, pairs, data, params):
        yield from answer_in_all(predictor, pair, answer, params.threshold)


def predict_in(
    predictor: Segmenter, convention: str, image: Grey, size: tuple[int, ...], threshold: float
) -> NDArray[np.uint8]:
    """The mask of `size` (height, width) of a radiograph in a convention that the network knows.

    Raises StageError when a probability is not finite.
    """
    (lung,) = predictor.predict([image], [(size[0], size[1])], [convention])
    return binarise(lung, threshold, f"the answer in {convention}")


class AskedIn:
    """A network that is told one convention once and for all: its answers are in that one."""

    def __init__(self, segmenter: Segmenter, convention: str) -> None:
        """Tell `segmenter` this convention or, where it does not know that, its default."""
        (asked,) = nearest_conventions([convention], segmenter.conventions)
        self._segmenter = segmenter
        self.conventions: tuple[str, ...] = (asked,)

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[NDArray[np.float32]]:
        """As Segmenter says; the one convention is all that it knows."""
        asked = [self.conventions[0]] * len(images) if conventions is None else conventions
        convention_places(asked, self.conventions)
        return self._segmenter.predict(images, sizes, asked)


def asked_table(rows: Iterable[AskedAnswer]) -> pd.DataFrame:
    """The table of these rows, in their order."""
    return table_of(rows, ASKED.columns)


def better_explained(asked: pd.DataFrame) -> list[BetterExplained]:
    """The radiographs of conventions.csv that another convention explains clearly better.

    The clearest first. Those of a convention that the network does not know are not judged.
    """
    own = asked[asked["asked"] == asked["convention"]].set_index("image_id")["dice"]
    judged = asked[asked["image_id"].isin(own.index)]
    best = judged.sort_values(["dice", "asked"], ascending=[False, True])
    best = best.drop_duplicates("image_id").assign(
        own_dice=lambda row: row["image_id"].map(own).astype(float)
    )
    best = best.assign(gain=best["dice"] - best["own_dice"])
    ranked = best.sort_values(["gain", "image_id"], ascending=[False, True])
    return rows_of(ranked[ranked["gain"] >= CLEAR], BetterExplained)
