"""How the model behaves: its calibration, robustness, warnings of failure and places of error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.confidence import BINS
from pipeline.evaluation.error_maps import AlignedErrors, average_errors
from pipeline.evaluation.failure_prediction import (
    FEW_FAILURES,
    SURENESS,
    Ranking,
    risk_coverage,
    sureness_and_risk,
)
from pipeline.evaluation.per_image import FAILURE
from pipeline.evaluation.robustness import UNCHANGED
from pipeline.pictures.model_charts import (
    Series,
    draw_error_map,
    draw_reliability,
    draw_risk_coverage,
    draw_robustness,
)
from pipeline.report.case_drawing import DrawnCase
from pipeline.report.measures import MEASURES_SHOWN
from pipeline.report.report_inputs import ReportInputs
from pipeline.table_files import rows_of


@dataclass(frozen=True)
class ClassMap:
    """Where a class is missed and where extra."""

    class_name: str
    cases: int
    """Radiographs that are laid over one another."""
    left_out: int
    """Those whose reference holds no lung."""
    chart: str | None
    missed: float
    """Largest share of the radiographs at one place."""
    extra: float


@dataclass(frozen=True)
class FailureWarning:
    """Whether failures can be told without a reference."""

    rankings: list[Ranking]
    shown: str
    """`test` or `corrupted`: of which the chart is."""
    failures: int
    """Of the test split."""
    few: bool
    """Whether these are too few to judge by."""
    corrupted_failures: int
    """Of the corrupted radiographs."""
    drawn: int
    """Radiographs that the chart is of."""
    chart: str | None


@dataclass(frozen=True)
class Fall:
    """What one perturbation does to the mean Dice at its strongest."""

    perturbation: str
    strength: str
    before: float
    after: float


@dataclass(frozen=True)
class Robustness:
    """How the answers change with the radiographs."""

    cases: int
    chart: str | None
    falls: list[Fall]
    """The largest first."""


def draw_calibration(inputs: ReportInputs) -> str | None:
    """The reliability curve; None without any pixels."""
    if inputs.calibration.empty:
        return None
    return draw_reliability(inputs.calibration, inputs.classes, BINS)


def map_errors(drawn: Sequence[DrawnCase], classes: Sequence[str]) -> list[ClassMap]:
    """The maps of each class."""
    return [
        _map(name, [one.errors for one in drawn if one.image.class_name == name])
        for name in classes
    ]


def _map(class_name: str, errors: list[AlignedErrors | None]) -> ClassMap:
    aligned = [one for one in errors if one is not None]
    average = average_errors(aligned)
    if average is None:
        return ClassMap(class_name, 0, len(errors), None, 0.0, 0.0)
    pictures = {"Missed": average.missed, "Extra": average.extra}
    return ClassMap(
        class_name=class_name,
        cases=average.cases,
        left_out=len(errors) - len(aligned),
        chart=draw_error_map(average.lung, pictures),
        missed=float(average.missed.max()),
        extra=float(average.extra.max()),
    )


def try_robustness(inputs: ReportInputs) -> Robustness:
    """The curves of robustness.parquet, and how far each kind of change lowers the Dice."""
    table = inputs.robustness[inputs.robustness["twin"] == 0]
    if table.empty:
        return Robustness(0, None, [])
    unchanged = table[table["perturbation"] == UNCHANGED]
    changed = table[table["perturbation"] != UNCHANGED]
    curves = [
        pd.concat([unchanged.assign(perturbation=name), rows]) for name, rows in _kinds(changed)
    ]
    before = float(unchanged["dice"].mean())
    falls = [_fall(name, rows, before) for name, rows in _kinds(changed)]
    return Robustness(
        cases=int(table["image_id"].nunique()),
        chart=draw_robustness(pd.concat(curves), inputs.classes) if curves else None,
        falls=sorted(falls, key=lambda fall: (fall.after, fall.perturbation)),
    )


def _kinds(changed: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), rows) for name, rows in changed.groupby("perturbation", sort=False)]


def _fall(name: str, rows: pd.DataFrame, before: float) -> Fall:
    strongest = rows[rows["grade"] == rows["grade"].max()]
    strength, unit = strongest["strength"].iloc[0], strongest["unit"].iloc[0]
    return Fall(name, f"{strength:g} {unit}", before, float(strongest["dice"].mean()))


def judge_warnings(inputs: ReportInputs) -> FailureWarning:
    """How well each score ranks; the chart is of the test split if enough of it fails."""
    rankings = rows_of(inputs.failure_prediction, Ranking)
    failures = int((inputs.per_image["dice"] < FAILURE).sum())
    few = failures < FEW_FAILURES
    twins = inputs.robustness[inputs.robustness["twin"] == 1]
    corrupted = few and not twins.empty
    drawn = _with_all_scores(twins if corrupted else inputs.per_image)
    curves = _risk_curves(drawn)
    return FailureWarning(
        rankings=rankings,
        shown="corrupted" if corrupted else "test",
        failures=failures,
        few=few,
        corrupted_failures=int((twins["dice"] < FAILURE).sum()),
        drawn=len(drawn),
        chart=draw_risk_coverage(curves) if curves else None,
    )


def _with_all_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have each score which any row has: curves of other rows cannot be compared."""
    return table.dropna(subset=[name for name in SURENESS if table[name].notna().any()])


def _risk_curves(table: pd.DataFrame) -> list[Series]:
    curves = []
    for name in SURENESS:
        sureness, risk = sureness_and_risk(table, name)
        if len(risk):
            kept = risk_coverage(sureness, risk)
            curves.append(Series(MEASURES_SHOWN[name].title, _shares(len(risk)), kept))
    if curves:
        risk = 1 - table["dice"].to_numpy(np.float64)
        kept = risk_coverage(-risk, risk)
        curves.append(Series("best possible: by Dice itself", _shares(len(table)), kept))
    return curves


def _shares(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.arange(1, count + 1) / count
