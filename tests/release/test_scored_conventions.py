"""The convention of an answer is what was asked for, also in tables from before there were any."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.release.scored_conventions import asked_conventions
from tests.release.test_gate import CLASSES, in_conventions, score_table


@pytest.fixture
def table() -> pd.DataFrame:
    return in_conventions(score_table(dict.fromkeys(CLASSES, [0.9] * 4)))


def test_what_was_asked_counts_before_what_a_mask_is_of(table: pd.DataFrame) -> None:
    assert asked_conventions(table).tolist() == table["convention"].tolist()
    assert set(asked_conventions(table.assign(asked="standard"))) == {"standard"}


def test_scores_from_before_there_were_conventions_are_in_standard(table: pd.DataFrame) -> None:
    assert set(asked_conventions(table.drop(columns="convention"))) == {"standard"}
