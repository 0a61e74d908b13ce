"""What a network answers in each of its annotation conventions, in numbers and pictures.

Nothing of this is on the page of a network that knows one convention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.conventions import PERSON, in_order
from pipeline.dataset.validation.doubtful import Doubtful, convention_command
from pipeline.evaluation.asked import AskedAnswer, better_explained, predict_in
from pipeline.evaluation.scoring import LabelledPair
from pipeline.inference.segmenter import Segmenter
from pipeline.pictures.overlay import draw_answer_swatch, draw_answers
from pipeline.pictures.pages import encode_jpeg, encode_png
from pipeline.radiograph.reading import read_mask, read_radiograph
from pipeline.report.report_inputs import ReportInputs
from pipeline.table_files import rows_of

EXAMPLES = 3  # of each convention
SHOWN = 24  # of those that another convention explains better
SIDE = 400  # pixels
QUALITY = 84  # of JPEG, in percent
SPLITS = {"train": "trained on", "val": "of the validation", "test": "of the test"}


@dataclass(frozen=True)
class ClassAnswers:
    """The radiographs of a class whose masks are of one convention, answered in each."""

    class_name: str
    convention: str
    cases: int
    dice: Mapping[str, float]
    """Mean by the convention asked for."""
    area: Mapping[str, float]
    """Mean predicted area, a share of the picture."""
    lung_area: float
    """Mean of the masks."""


@dataclass(frozen=True)
class ShownAnswers:
    """A radiograph with the outline of its answer in each convention."""

    image_id: str
    class_name: str
    convention: str
    dice: Mapping[str, float]
    """By the convention asked for."""
    area: Mapping[str, float]
    differences: Mapping[str, float | None]
    """Of the area to that in its own convention, as a share of it; None where that is nothing."""
    picture: bytes
    """A JPEG."""


@dataclass(frozen=True)
class Misfit:
    """A radiograph whose mask another convention explains clearly better."""

    answers: ShownAnswers
    asked: str
    """The convention that fits best."""
    split: str
    """In words."""
    opinion: str
    """What the validation or a person says of its convention, a sentence."""
    command: str
    """What gives it that convention; empty where a person confirmed its own."""


@dataclass(frozen=True)
class ConventionAnswers:
    """The section of the page."""

    conventions: list[str]
    rows: list[ClassAnswers]
    examples: list[ShownAnswers]
    misfits: list[Misfit]
    """Those that are shown: first those whose convention no person has confirmed."""
    misfit_count: int
    swatches: Mapping[str, bytes]
    """PNGs of the outlines by convention."""


def show_answers(
    inputs: ReportInputs, pairs: Sequence[LabelledPair], segmenter: Segmenter
) -> ConventionAnswers:
    """The section, of a network that answers in several conventions.

    Raises DatasetError when a file is not the one that was split, StageError as predicting does.
    """
    asked = inputs.asked
    conventions = in_order(asked["asked"])
    # Else those that a person has judged would crowd out the others; the order by gain is kept.
    better = sorted(better_explained(asked), key=lambda one: one.convention_by == PERSON)
    tested = asked[asked["split"] == "test"]
    typical = _typical(tested, {one.image_id for one in better})
    draw = _Drawing(inputs, {pair.image_id: pair for pair in pairs}, segmenter, conventions)
    opinions = {one.image_id: one for one in rows_of(inputs.doubtful, Doubtful)}
    return ConventionAnswers(
        conventions=conventions,
        rows=_class_rows(tested),
        examples=[draw.show(image_id) for image_id in typical],
        misfits=[
            Misfit(
                answers=draw.show(one.image_id),
                asked=one.asked,
                split=SPLITS[one.split],
                opinion=_opinion(one.convention_by, opinions.get(one.image_id)),
                command=_command(one.convention_by, one.asked, one.image_id),
            )
            for one in better[:SHOWN]
        ],
        misfit_count=len(better),
        swatches={
            name: encode_png(draw_answer_swatch(place)) for place, name in enumerate(conventions)
        },
    )


def _class_rows(asked: pd.DataFrame) -> list[ClassAnswers]:
    rows = []
    for (class_name, convention), group in asked.groupby(["class_name", "convention"]):
        means = group.groupby("asked")[["dice", "predicted_area"]].mean()
        rows.append(
            ClassAnswers(
                class_name=str(class_name),
                convention=str(convention),
                cases=int(group["image_id"].nunique()),
                dice=_named(means["dice"]),
                area=_named(means["predicted_area"]),
                lung_area=float(group.drop_duplicates("image_id")["lung_area"].mean()),
            )
        )
    return rows


def _named(values: pd.Series) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def _typical(asked: pd.DataFrame, without: set[str]) -> list[str]:
    """The image_ids of some radiographs of each convention, whose Dice is nearest to the median."""
    own = asked[(asked["asked"] == asked["convention"]) & ~asked["image_id"].isin(without)]
    chosen = []
    for name in in_order(own["convention"]):
        group = own[own["convention"] == name]
        distance = (group["dice"] - group["dice"].median()).abs()
        ranked = group.assign(distance=distance).sort_values(["distance", "image_id"])
        chosen += ranked["image_id"].head(EXAMPLES).tolist()
    return chosen


def _opinion(convention_by: str, listed: Doubtful | None) -> str:
    if convention_by == PERSON:
        return "A person confirmed its convention."
    if listed is None:
        return "The validation of the dataset does not doubt its convention."
    odds = "over 1,000" if listed.odds > 1000 else f"{listed.odds:.0f}"
    return f"In the validation it looks like {listed.looks_like}, {odds} times as likely."


def _command(convention_by: str, asked: str, image_id: str) -> str:
    return "" if convention_by == PERSON else convention_command(asked, image_id)


@dataclass(frozen=True)
class _Drawing:
    inputs: ReportInputs
    pairs: Mapping[str, LabelledPair]
    segmenter: Segmenter
    conventions: Sequence[str]

    def show(self, image_id: str) -> ShownAnswers:
        """The radiograph with its answers, predicted again: evaluation keeps one of them."""
        table = self.inputs.asked
        rows = {
            row.asked: row for row in rows_of(table[table["image_id"] == image_id], AskedAnswer)
        }
        area = {name: rows[name].predicted_area for name in self.conventions}
        first = next(iter(rows.values()))
        own = area.get(first.convention, area[self.conventions[0]])
        return ShownAnswers(
            image_id=image_id,
            class_name=first.class_name,
            convention=first.convention,
            dice={name: rows[name].dice for name in self.conventions},
            area=area,
            differences={name: one / own - 1 if own else None for name, one in area.items()},
            picture=self._draw(self.pairs[image_id]),
        )

    def _draw(self, pair: LabelledPair) -> bytes:
        data = self.inputs.root / "data"
        radiograph = read_radiograph(data / pair.image_path, pair.image_sha256)
        truth = read_mask(data / pair.mask_path, pair.mask_sha256)
        threshold = self.inputs.params.evaluate.threshold
        answers = [
            predict_in(self.segmenter, name, radiograph, truth.shape, threshold)
            for name in self.conventions
        ]
        return encode_jpeg(draw_answers(radiograph, truth, answers, SIDE), QUALITY)
