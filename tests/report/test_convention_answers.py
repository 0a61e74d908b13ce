from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.conventions import PERSON
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, split_rows
from pipeline.dataset.validation.doubtful import DOUBTFUL, Doubtful
from pipeline.evaluation.asked import ASKED, ASKED_FILE
from pipeline.params import EvaluateParams
from pipeline.report.convention_answers import (
    EXAMPLES,
    SHOWN,
    ConventionAnswers,
    show_answers,
)
from pipeline.table_files import table_of
from tests.stages.evaluated import PARAMS, Bilingual, write_bilingual


@dataclass
class Settings:
    """Of params.yaml, what the section reads."""

    evaluate: EvaluateParams = PARAMS


@dataclass
class Inputs:
    """What the section reads of the report's inputs."""

    root: Path
    asked: pd.DataFrame
    doubtful: pd.DataFrame
    params: Settings


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after the evaluate stage, with two conventions; not to be changed."""
    root = tmp_path_factory.mktemp("bilingual")
    write_bilingual(root, test=6, COVID=8, Normal=9)
    return root


def compare(root: Path, **tables: Any) -> ConventionAnswers:
    asked = tables.get("asked", ASKED.read(root / ASKED_FILE))
    doubtful = table_of(tables.get("doubtful", []), DOUBTFUL.columns)
    pairs: list[SplitRow] = split_rows(SPLIT.read(root / SPLIT_FILE))
    return show_answers(
        Inputs(root, asked, doubtful, Settings()),  # type: ignore[arg-type]
        pairs,
        Bilingual(),
    )


def listed(image_id: str) -> Doubtful:
    return Doubtful(
        image_id=image_id,
        convention="standard",
        convention_by="",
        mask_sha256="",
        looks_like="heart",
        odds=1234.5,
        gap=0.1,
        own_gap=0.2,
        other_gap=0.1,
        command="",
    )


def test_each_class_has_its_dice_and_area_in_every_convention(evaluated: Path) -> None:
    covid, normal = compare(evaluated).rows

    assert (covid.class_name, covid.convention, covid.cases) == ("COVID", "heart", 6)
    assert covid.dice["heart"] > covid.dice["standard"]
    assert normal.dice["standard"] > normal.dice["heart"]
    assert covid.area["heart"] > covid.area["standard"]
    asked = ASKED.read(evaluated / ASKED_FILE)
    assert set(asked["split"]) == {"train", "val", "test"}
    tested = asked[asked["split"] == "test"]
    rows = tested[(tested["class_name"] == "COVID") & (tested["asked"] == "standard")]
    assert covid.area["standard"] == pytest.approx(rows["predicted_area"].mean())
    assert covid.lung_area == pytest.approx(rows["lung_area"].mean())


def test_a_class_of_two_conventions_has_a_row_for_each(evaluated: Path) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE).assign(class_name="Both")

    rows = compare(evaluated, asked=asked).rows

    assert [(row.convention, row.cases) for row in rows] == [("heart", 6), ("standard", 6)]


def test_examples_are_of_each_convention_with_the_difference_in_area(evaluated: Path) -> None:
    found = compare(evaluated)

    assert found.conventions == ["standard", "heart"]
    assert [one.convention for one in found.examples] == [
        *["standard"] * EXAMPLES,
        *["heart"] * EXAMPLES,
    ]
    first = found.examples[0]
    assert first.differences["standard"] == 0
    assert first.differences["heart"] == pytest.approx(
        first.area["heart"] / first.area["standard"] - 1
    )
    picture = np.asarray(Image.open(io.BytesIO(first.picture)).convert("RGB")).astype(int)
    assert (picture[..., 0] - picture[..., 2] > 80).sum() > 100  # yellow
    assert (picture[..., 2] - picture[..., 0] > 60).sum() > 100  # blue


def test_a_mask_that_another_convention_explains_better_comes_with_the_command(
    evaluated: Path,
) -> None:
    found = compare(evaluated, doubtful=[listed("Normal/Normal-1")])

    (misfit,) = found.misfits
    assert found.misfit_count == 1
    assert (misfit.answers.image_id, misfit.asked) == ("Normal/Normal-1", "heart")
    assert misfit.split == "of the test"
    assert misfit.command == "lungseg data convention heart Normal/Normal-1"
    assert misfit.opinion == "In the validation it looks like heart, over 1,000 times as likely."
    assert "Normal/Normal-1" not in [one.image_id for one in found.examples]


def test_a_mask_that_was_trained_on_is_shown_too_and_is_in_no_mean(evaluated: Path) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE)
    trained = asked["image_id"] == "COVID/COVID-8"
    assert set(asked["split"][trained]) == {"train"}

    asked.loc[trained, "convention"] = "standard"

    found = compare(evaluated, asked=asked)

    assert {one.answers.image_id: (one.asked, one.split) for one in found.misfits} == {
        "COVID/COVID-8": ("heart", "trained on"),
        "Normal/Normal-1": ("heart", "of the test"),
    }
    assert [row.cases for row in found.rows] == [6, 6]


def test_the_validation_may_be_of_another_opinion(evaluated: Path) -> None:
    (misfit,) = compare(evaluated).misfits

    assert misfit.opinion == "The validation of the dataset does not doubt its convention."


def test_of_a_confirmed_convention_no_command_is_given(evaluated: Path) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE).assign(convention_by="person")

    (misfit,) = compare(evaluated, asked=asked).misfits

    assert (misfit.command, misfit.opinion) == ("", "A person confirmed its convention.")


def test_of_many_misfits_the_clearest_are_shown(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE)
    other = {"standard": "heart", "heart": "standard"}
    monkeypatch.setattr("pipeline.report.convention_answers.SHOWN", 2)

    found = compare(evaluated, asked=asked.assign(convention=asked["convention"].map(other)))

    assert SHOWN > 2
    assert (len(found.misfits), found.misfit_count) == (2, 16)
    gains = [one.answers.dice[one.asked] for one in found.misfits]
    assert len(gains) == 2
    assert found.examples  # the one that was wrong before


def test_masks_that_a_person_confirmed_do_not_crowd_out_the_others(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE)
    other = {"standard": "heart", "heart": "standard"}
    asked = asked.assign(convention=asked["convention"].map(other), convention_by="")
    monkeypatch.setattr("pipeline.report.convention_answers.SHOWN", 2)
    before = [one.answers.image_id for one in compare(evaluated, asked=asked).misfits]

    confirmed = asked["image_id"].isin(before)
    found = compare(evaluated, asked=asked.assign(convention_by=np.where(confirmed, PERSON, "")))

    shown = [one.answers.image_id for one in found.misfits]
    assert (len(shown), found.misfit_count) == (2, 16)
    assert not set(shown) & set(before)
    assert all(one.command for one in found.misfits)
    gains = [
        one.answers.dice[one.asked] - one.answers.dice[one.answers.convention]
        for one in found.misfits
    ]
    assert gains == sorted(gains, reverse=True)


def test_an_answer_without_lung_has_no_difference_in_per_cent(evaluated: Path) -> None:
    asked = ASKED.read(evaluated / ASKED_FILE).assign(predicted_area=0.0)

    (first, *_) = compare(evaluated, asked=asked).examples

    assert first.differences == {"standard": None, "heart": None}
