"""The radiographs whose Dice differs most between two models, marked again by both and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.conventions import nearest_conventions
from pipeline.dataset.splits.table import SPLIT, SplitRow, split_rows
from pipeline.errors import DatasetError, LungsegError
from pipeline.evaluation.scores import confusion, score
from pipeline.pictures.overlay import draw_overlay, shrink_radiograph
from pipeline.pictures.pages import encode_jpeg
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import read_mask, read_radiograph
from pipeline.release.paired_scores import KEYS, ComparedModel, PairedScores
from pipeline.release.scored_conventions import asked_conventions

CASES = 8
"""Radiographs that are shown of those that got worse, and of those that got better."""
SIDE, QUALITY = 480, 85
"""Pixels of the shorter side of a picture, and the quality of its JPEG."""
TOLERANCE = 0.005
"""Of Dice, between a table and the mask that is drawn: another processor rounds otherwise."""

Direction = Literal["worsened", "improved"]
FetchData = Callable[[Sequence[str]], Path]
"""Makes these files of data/ readable; returns the folder that their paths are below."""


@dataclass(frozen=True)
class ModelView:
    """A radiograph as one of the two models marks it."""

    dice: float
    """As its table has it."""
    overlay: bytes | None = None
    """A JPEG; None where the model or the radiograph cannot be had."""
    drawn_dice: float | None = None
    """Of the mask that is drawn."""

    @property
    def differing(self) -> bool:
        """Whether the mask that is drawn is not the one that was scored."""
        return self.drawn_dice is not None and abs(self.drawn_dice - self.dice) > TOLERANCE


@dataclass(frozen=True)
class ChangedCase:
    """A radiograph whose Dice differs between the two models."""

    direction: Direction
    image_id: str
    class_name: str
    views: tuple[ModelView, ModelView]
    radiograph: bytes | None = None
    """A grey JPEG; None where the radiograph cannot be had."""

    @property
    def gain(self) -> float:
        """By how much Dice is greater with the second model."""
        return self.views[1].dice - self.views[0].dice


def choose_changed(paired: PairedScores, count: int = CASES) -> list[ChangedCase]:
    """Up to `count` radiographs that got worse, and better, by Dice; the most first."""
    table = paired.labels.assign(
        gain=paired.dice_gain, before=paired.before["dice"], after=paired.after["dice"]
    )
    worse = table[table["gain"] < 0].sort_values(["gain", "image_id"]).head(count)
    better = table[table["gain"] > 0].sort_values(["gain", "image_id"], ascending=[False, True])
    directions: tuple[Direction, Direction] = ("worsened", "improved")
    return [
        ChangedCase(
            direction,
            str(row["image_id"]),
            str(row["class_name"]),
            (ModelView(float(row["before"])), ModelView(float(row["after"]))),
        )
        for direction, rows in zip(directions, (worse, better.head(count)), strict=True)
        for row in rows.to_dict("records")
    ]


def draw_changed(
    paired: PairedScores, cases: Sequence[ChangedCase], fetch: FetchData
) -> tuple[list[ChangedCase], list[str]]:
    """The cases with their pictures, and why some have none, each in a sentence.

    Every file is compared with its hash in split.csv before it is decoded.
    """
    problems = [
        f"{letter} cannot mark radiographs: {model.problem}."
        for letter, model in zip("AB", paired.models, strict=True)
        if model.segmenter is None
    ]
    rows, asked = _split_rows(paired), [_asked(model) for model in paired.models]
    wanted = [rows[case.image_id] for case in cases if case.image_id in rows]
    if cases and not wanted:
        return list(cases), [*problems, "No split.csv says where the radiographs lie."]
    try:
        data = fetch([path for row in wanted for path in (row.image_path, row.mask_path)])
    except LungsegError as error:
        return list(cases), [*problems, f"The radiographs cannot be had: {error}."]
    drawn = []
    for case in cases:
        try:
            drawn.append(_draw(case, rows[case.image_id], data, paired.models, asked))
        except (DatasetError, KeyError) as error:
            drawn.append(case)
            problems.append(f"{case.image_id} cannot be drawn: {error}.")
    return drawn, problems


def _split_rows(paired: PairedScores) -> dict[str, SplitRow]:
    """Where the radiographs lie, by image_id: as the second model's run knew it, else the first."""
    pixels = dict(zip(*(paired.labels[key] for key in KEYS), strict=True))
    found: dict[str, SplitRow] = {}
    for model in paired.models:
        if model.split is not None and set(SPLIT.columns) <= set(model.split.columns):
            rows = split_rows(model.split)
            found |= {
                one.image_id: one for one in rows if pixels.get(one.image_id) == one.pixel_sha256
            }
    return found


def _asked(model: ComparedModel) -> dict[str, str]:
    """The convention that each of a model's scores is in, by image_id."""
    return dict(zip(model.per_image["image_id"], asked_conventions(model.per_image), strict=True))


def _draw(
    case: ChangedCase,
    row: SplitRow,
    data: Path,
    models: Iterable[ComparedModel],
    asked: Iterable[Mapping[str, str]],
) -> ChangedCase:
    radiograph = read_radiograph(data / row.image_path, row.image_sha256)
    truth = read_mask(data / row.mask_path, row.mask_sha256)
    first, second = (
        _view(model, view, radiograph, truth, conventions[case.image_id])
        for model, view, conventions in zip(models, case.views, asked, strict=True)
    )
    picture = encode_jpeg(shrink_radiograph(radiograph, SIDE), QUALITY)
    return ChangedCase(case.direction, case.image_id, case.class_name, (first, second), picture)


def _view(
    model: ComparedModel,
    view: ModelView,
    radiograph: Grey,
    truth: NDArray[np.uint8],
    convention: str,
) -> ModelView:
    if model.segmenter is None:
        return view
    asked = nearest_conventions([convention], model.segmenter.conventions)
    (lung,) = model.segmenter.predict([radiograph], [(truth.shape[0], truth.shape[1])], asked)
    mask = (lung >= model.threshold).astype(np.uint8)
    overlay = encode_jpeg(draw_overlay(radiograph, truth, mask, SIDE), QUALITY)
    return ModelView(view.dice, overlay, score(confusion(mask, truth)).dice)
