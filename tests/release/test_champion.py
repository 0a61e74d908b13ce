"""Which recorded scores of a release still are what it would answer today."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.dataset.splits.table import SplitRow
from pipeline.params import Params
from pipeline.release import champion
from pipeline.release.champion import answers_as_now, best_answers, same_masks, still_hold
from pipeline.release.evidence import Evidence
from pipeline.release.gate import run_gate
from pipeline.settings import Settings
from tests.release.runs import Run, make_run, release
from tests.release.test_gate import CLASSES, in_conventions, make_evidence, score_table


@pytest.fixture
def table() -> pd.DataFrame:
    return in_conventions(score_table(dict.fromkeys(CLASSES, [0.9] * 4)))


@pytest.fixture
def evidence(tmp_path: Path, params: Params, table: pd.DataFrame) -> Evidence:
    return make_evidence(tmp_path, params, table)


def test_scores_of_the_same_radiographs_in_the_same_conventions_stand(
    evidence: Evidence, table: pd.DataFrame
) -> None:
    assert answers_as_now(table.sample(frac=1, random_state=1), evidence)


def test_a_release_that_knows_one_convention_answers_as_before_whatever_it_is_asked(
    evidence: Evidence, table: pd.DataFrame
) -> None:
    before = table.drop(columns="convention")

    assert answers_as_now(before, evidence)


def test_a_corrected_convention_asks_for_new_answers(
    evidence: Evidence, table: pd.DataFrame
) -> None:
    table.loc[3, "convention"] = "another"

    assert not answers_as_now(table, evidence)


def test_scores_of_other_radiographs_do_not_stand(evidence: Evidence, table: pd.DataFrame) -> None:
    assert not answers_as_now(table[1:], evidence)


def test_masks_are_compared_by_their_files(evidence: Evidence, table: pd.DataFrame) -> None:
    drawn_anew = evidence.split.copy()
    drawn_anew.loc[drawn_anew["image_id"] == table["image_id"][2], "mask_sha256"] = "another"

    assert same_masks(evidence.split.sample(frac=1, random_state=1), evidence)
    assert not same_masks(drawn_anew, evidence)
    assert not same_masks(evidence.split.drop(columns="mask_sha256"), evidence)


def pair(image_id: str, convention: str) -> SplitRow:
    return SplitRow(
        image_id=image_id,
        class_name="A",
        **dict.fromkeys(("image_path", "mask_path", "image_sha256", "mask_sha256"), ""),
        **dict.fromkeys(("pixel_sha256", "group", "source"), ""),
        spacing=math.nan,
        split="test",
        convention=convention,
    )


def answers(
    pairs: dict[str, str], known: tuple[str, ...], dice: dict[tuple[str, str], float]
) -> dict[str, tuple[str, float]]:
    """What each of `pairs`, with its convention, is asked for and has; `dice` by both of these."""
    table = best_answers(
        [pair(image_id, convention) for image_id, convention in pairs.items()],
        known,
        lambda rows: pd.DataFrame(
            {
                "image_id": [row.image_id for row in rows],
                "dice": [dice[row.image_id, row.convention] for row in rows],
            }
        ),
    )
    return {str(row.image_id): (str(row.asked), float(str(row.dice))) for row in table.itertuples()}


def test_each_mask_is_asked_for_in_its_own_convention() -> None:
    found = answers(
        {"A/2": "heart", "A/1": "standard"},
        ("standard", "heart"),
        {("A/1", "standard"): 0.7, ("A/2", "heart"): 0.6},
    )

    assert found == {"A/1": ("standard", 0.7), "A/2": ("heart", 0.6)}


def test_a_convention_by_another_name_counts_by_the_best_answer_of_all_its_masks() -> None:
    found = answers(
        {"A/1": "standard", "A/2": "heart-in", "A/3": "heart-in"},
        ("standard", "heart"),
        {
            ("A/1", "standard"): 0.7,
            **{("A/2", "standard"): 0.9, ("A/3", "standard"): 0.5},
            **{("A/2", "heart"): 0.8, ("A/3", "heart"): 0.8},
        },
    )

    assert found == {"A/1": ("standard", 0.7), "A/2": ("heart", 0.8), "A/3": ("heart", 0.8)}


@pytest.mark.slow
def test_a_champion_is_scored_anew_on_masks_that_were_drawn_anew(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release(run)
    second = make_run(settings, client, tmp_path / "second", dict.fromkeys(CLASSES, [0.98] * 8))

    as_recorded = {check.name: check for check in run_gate(*second).checks}
    monkeypatch.setattr(champion, "same_masks", same_masks)
    anew = {check.name: check for check in run_gate(*second).checks}

    # The same network, against other masks.
    assert as_recorded["dice_vs_champion"].value > 0.005
    assert anew["dice_vs_champion"].value == 0


def test_scores_of_a_convention_that_the_release_met_only_in_the_test_split_do_not_stand(
    evidence: Evidence, table: pd.DataFrame
) -> None:
    split = evidence.split.copy()
    learned = split["split"] == "train"
    split.loc[learned, "convention"] = ["standard", "heart"]
    assert still_hold(table, split, evidence)

    split.loc[learned, "convention"] = "standard"
    assert not still_hold(table, split, evidence)

    before = split.drop(columns="convention")  # from before there were others
    assert not still_hold(table.drop(columns="convention"), before, evidence)
