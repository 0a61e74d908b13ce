"""Whether a failure can be told without a reference: how well a score ranks the radiographs.

    auroc   the chance that a failure has a lower score than another radiograph, ties half
    aurc    area under the risk-coverage curve: the mean, over all shares of radiographs that one
            keeps, the surest first, of their mean risk 1 - Dice     Geifman 2019, arXiv 1805.08206

A score that orders by chance has the mean risk as its aurc; the least possible is that of ordering
by Dice itself. Radiographs of equal score are kept or left together, in the mean of all orders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.per_image import FAILURE
from pipeline.table_files import TableFile, columns_of, table_of

FAILURE_PREDICTION_FILE = Path("artifacts/evaluate/failure_prediction.csv")
"""Below the project's root."""

SURENESS = {"soft_dice": 1, "contour_entropy": -1, "tta_dice": 1}
"""The scores, and whether high or low values are sure."""
FEW_FAILURES = 10
"""With fewer failures an AUROC says little."""


@dataclass(frozen=True)
class Ranking:
    """A row of failure_prediction.csv: how well one score ranks a set of radiographs."""

    radiographs: str
    """`test`, or `corrupted`: each strongly moved and shaded, by changes drawn by its name."""
    score: str
    cases: int
    """Radiographs that have the score."""
    failures: int
    """Of those with a Dice below FAILURE."""
    auroc: float
    """NaN when all fail, or none."""
    aurc: float
    """0 (best) to 1."""
    least_aurc: float
    """Of the order by Dice itself."""
    chance_aurc: float
    """Of no order."""


FAILURE_PREDICTION = TableFile(columns_of(Ranking), "the stage evaluate")


def rank_failures(per_image: pd.DataFrame, robustness: pd.DataFrame) -> pd.DataFrame:
    """failure_prediction.csv, from per_image.parquet and robustness.parquet."""
    twins = robustness[robustness["twin"] == 1]
    rows = [*_rankings("test", per_image), *_rankings("corrupted", twins)]
    return table_of(rows, FAILURE_PREDICTION.columns)


def _rankings(name: str, table: pd.DataFrame) -> Iterator[Ranking]:
    for score in SURENESS:
        sureness, risk = sureness_and_risk(table, score)
        if not len(risk):
            continue
        failed = risk > 1 - FAILURE
        yield Ranking(
            radiographs=name,
            score=score,
            cases=len(risk),
            failures=int(failed.sum()),
            auroc=auroc(sureness, failed),
            aurc=float(risk_coverage(sureness, risk).mean()),
            least_aurc=float(risk_coverage(-risk, risk).mean()),
            chance_aurc=float(risk.mean()),
        )


def sureness_and_risk(
    table: pd.DataFrame, score: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How sure a score is (high: sure) and 1 - Dice, each (n,), of the rows that have the score."""
    known = table[table[score].notna()]
    sureness = SURENESS[score] * known[score].to_numpy(np.float64)
    return sureness, 1 - known["dice"].to_numpy(np.float64)


def auroc(sureness: NDArray[np.float64], failed: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of low `sureness` (n,) as a sign of failure; NaN if undefined."""
    bad, good = int(failed.sum()), int((~failed).sum())
    if not (bad and good):
        return math.nan
    ranks = pd.Series(-sureness).rank().to_numpy()  # the mean rank of equal ones
    return float((ranks[failed].sum() - bad * (bad + 1) / 2) / (bad * good))


def risk_coverage(sureness: NDArray[np.float64], risk: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean risk of the surest 1, 2, ... n radiographs; both inputs are (n,)."""
    expected = pd.Series(risk).groupby(sureness).transform("mean").to_numpy()
    order = np.argsort(-sureness, kind="stable")
    kept: NDArray[np.float64] = np.cumsum(expected[order]) / np.arange(1, len(risk) + 1)
    return kept
