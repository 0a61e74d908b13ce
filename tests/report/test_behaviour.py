from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.error_maps import align_errors
from pipeline.evaluation.failure_prediction import rank_failures
from pipeline.evaluation.per_image import per_image_table
from pipeline.evaluation.robustness import ROBUSTNESS
from pipeline.pictures.model_charts import Series
from pipeline.report.behaviour import draw_calibration, judge_warnings, map_errors, try_robustness
from tests.evaluation.images import image_of
from tests.report.drawn import BAD, GOOD, drawn_case


@dataclass(frozen=True)
class Inputs:
    """What these charts need of the inputs."""

    per_image: pd.DataFrame
    robustness: pd.DataFrame
    calibration: pd.DataFrame

    @property
    def failure_prediction(self) -> pd.DataFrame:
        return rank_failures(self.per_image, self.robustness)

    @property
    def classes(self) -> list[str]:
        return ["N"]


def answers(*changes: tuple[str, int, float, int]) -> pd.DataFrame:
    """Rows of robustness.parquet: perturbation, grade, Dice, and whether it is the twin."""
    rows = [
        {
            "image_id": "N/1",
            "class_name": "N",
            "group": "N/1",
            "perturbation": name,
            "grade": grade,
            "strength": float(grade),
            "unit": "degrees",
            "twin": twin,
            "dice": dice,
            "soft_dice": dice,
            "contour_entropy": 1 - dice,
            "tta_dice": np.nan,
        }
        for name, grade, dice, twin in changes
    ]
    return pd.DataFrame(rows, columns=list(ROBUSTNESS.columns)).astype(dict(ROBUSTNESS.columns))


def inputs(failures: int, good: int, robustness: pd.DataFrame) -> Any:
    images = [image_of(f"N/{n}", BAD, soft_dice=0.5) for n in range(failures)]
    images += [image_of(f"N/{n}", GOOD) for n in range(failures, failures + good)]
    empty = pd.DataFrame({"class_name": [], "bin": [], "pixels": []})
    return Inputs(per_image_table(images), robustness, empty)


TWINS = answers(
    ("none", 0, 0.97, 0),
    ("rotation", 3, 0.7, 0),
    ("noise", 3, 0.95, 0),
    ("rotation, noise", 3, 0.6, 1),
    ("shift, blur", 3, 0.95, 1),
)


@pytest.mark.parametrize(
    ("failures", "robustness", "shown"),
    [(10, TWINS, "test"), (9, TWINS, "corrupted"), (9, answers(), "test")],
)
def test_few_failures_are_told_and_the_corrupted_radiographs_shown_instead(
    failures: int, robustness: pd.DataFrame, shown: str
) -> None:
    warning = judge_warnings(inputs(failures, 5, robustness))

    assert (warning.shown, warning.failures, warning.few) == (shown, failures, failures < 10)
    assert warning.corrupted_failures == (1 if len(robustness) else 0)
    assert warning.chart


def test_a_score_that_was_never_measured_is_left_out() -> None:
    table = inputs(2, 3, answers())
    found = judge_warnings(
        Inputs(table.per_image.assign(tta_dice=np.nan), table.robustness, table.calibration)  # type: ignore[arg-type]
    )

    assert [one.score for one in found.rankings] == ["soft_dice", "contour_entropy"]


def test_all_curves_are_of_the_radiographs_that_have_every_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves: list[Series] = []
    monkeypatch.setattr("pipeline.report.behaviour.draw_risk_coverage", curves.extend)
    found = inputs(12, 8, answers())
    tried = found.per_image.assign(tta_dice=np.where(np.arange(20) % 4 == 0, 0.9, np.nan))

    warning = judge_warnings(Inputs(tried, found.robustness, found.calibration))  # type: ignore[arg-type]

    assert warning.drawn == 5
    assert [len(one.y) for one in curves] == [5] * 4
    assert {round(float(one.y[-1]), 9) for one in curves} == {
        round(1 - float(tried["dice"][::4].mean()), 9)
    }


def test_without_changed_radiographs_or_calibration_there_is_no_chart() -> None:
    found = try_robustness(inputs(1, 1, answers()))

    assert (found.cases, found.chart, found.falls) == (0, None, [])
    assert draw_calibration(inputs(1, 1, answers())) is None


def test_the_largest_fall_comes_first() -> None:
    found = try_robustness(inputs(1, 1, TWINS))

    assert found.cases == 1
    assert [(one.perturbation, one.strength) for one in found.falls] == [
        ("rotation", "3 degrees"),
        ("noise", "3 degrees"),
    ]
    assert found.falls[0].before - found.falls[0].after == pytest.approx(0.27)


def test_a_class_without_reference_lung_has_no_map() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[10:50, 10:50] = 1
    case = drawn_case("N/1")
    errors = align_errors(truth, np.zeros_like(truth))
    drawn = [case, type(case)(case.image, case.findings, case.thumbnail, errors)]

    (mapped,) = map_errors(drawn, ["N"])
    (none,) = map_errors(drawn[:1], ["N"])

    assert (mapped.cases, mapped.left_out, mapped.missed, mapped.extra) == (1, 1, 1.0, 0.0)
    assert (none.cases, none.left_out, none.chart) == (0, 1, None)
