"""In which annotation convention each answer of a table of scores is."""

from __future__ import annotations

import pandas as pd

from pipeline.conventions import STANDARD

ASKED = "asked"
"""A column of the annotation convention that a release was asked for, and scored in."""
CONVENTION = "convention"
"""A column of the convention of each mask, in split.csv and the tables of scores."""


def asked_conventions(scores: pd.DataFrame) -> pd.Series[str]:
    """In which convention each answer of a table of scores is, also of one from before these."""
    for column in (ASKED, CONVENTION):
        if column in scores.columns:
            return scores[column]
    return pd.Series(STANDARD, index=scores.index)


def learned_conventions(split: pd.DataFrame) -> set[str]:
    """Those that the network of a run with this `split` knows; others it only met in test."""
    if CONVENTION not in split.columns:
        return {STANDARD}
    return set(split.loc[split["split"] != "test", CONVENTION])
