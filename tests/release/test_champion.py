"""Which recorded scores of a release still are what it would answer today."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.params import Params
from pipeline.release.champion import answers_as_now
from pipeline.release.evidence import Evidence
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
