from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.dataset.splits.table import test_split_sha256 as split_sha256
from pipeline.errors import StageError
from pipeline.evaluation.metrics import ImageScores, Metrics, per_image_table
from pipeline.evaluation.scores import Counts, score
from pipeline.evaluation.visual_report import Report, ShownCase
from pipeline.files import sha256_file
from pipeline.params import Params
from pipeline.release.champion import ChampionScores
from pipeline.release.evidence import Evidence
from pipeline.release.gate import judge
from pipeline.release.verdict import Check, Verdict

CLASSES = ("COVID", "Normal")


def score_table(dice: dict[str, list[float]]) -> pd.DataFrame:
    """Per-image scores of masks of 100 lung pixels whose Dice is as given."""
    rows = []
    for name, values in dice.items():
        for number, value in enumerate(values):
            missed = round(200 * (1 - value) / (2 - value))
            counts = Counts(tp=100 - missed, fp=0, fn=missed, tn=900)
            digest = hashlib.sha256(f"{name}{number}".encode()).hexdigest()
            rows.append(ImageScores(f"{name}/{number}", name, digest, counts, score(counts)))
    return per_image_table(rows)


def make_evidence(folder: Path, params: Params, per_image: pd.DataFrame) -> Evidence:
    """A consistent set of evidence with three rendered cases per class."""
    (folder / "overlays").mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("<html></html>")
    cases = []
    for image_id in per_image["image_id"].head(9):
        overlay = f"overlays/{image_id.replace('/', '-')}.png"
        Image.new("RGB", (8, 8)).save(folder / overlay)
        sha256 = sha256_file(folder / overlay)
        cases.append(
            ShownCase(image_id=image_id, kind="worst", dice=0.5, overlay=overlay, sha256=sha256)
        )
    test = per_image[["image_id", "class_name", "pixel_sha256"]].assign(split="test")
    test["group"] = test["image_id"]
    row = {"image_id": "Normal/x", "class_name": "Normal", "pixel_sha256": "x", "group": "Normal/x"}
    train = pd.DataFrame([{**row, "split": "train"}])
    report = Report(
        model_sha256="model",
        test_split_sha256=split_sha256(test),
        data_sha256="data",
        code_sha256="code",
        metrics_sha256="metrics",
        per_image_sha256="per_image",
        index_sha256=sha256_file(folder / "index.html"),
        test_cases=len(test),
        cases=tuple(cases),
    )
    return Evidence(
        params=params,
        model_id="m-1",
        model_sha256="model",
        release_sha256="release",
        metrics=Metrics.of(per_image),
        metrics_sha256="metrics",
        per_image=per_image,
        per_image_sha256="per_image",
        split=pd.concat([test, train]),
        report=report,
        report_folder=folder,
    )


@pytest.fixture
def evidence(tmp_path: Path, params: Params) -> Evidence:
    return make_evidence(tmp_path, params, score_table(dict.fromkeys(CLASSES, [0.97] * 8)))


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_a_good_first_candidate_passes_on_thresholds_alone(evidence: Evidence) -> None:
    checks = judge(evidence, None, evidence.params.gate)

    assert failed(checks) == []
    assert {check.name for check in checks} >= {"accuracy", "dice", "worst_class_dice"}
    assert not [check for check in checks if "champion" in check.name]


@pytest.mark.parametrize(
    ("dice", "refused"),
    [
        ({"COVID": [0.80] * 8, "Normal": [0.80] * 8}, {"dice", "worst_class_dice"}),
        ({"COVID": [0.85] * 8, "Normal": [0.99] * 8}, {"worst_class_dice"}),
    ],
)
def test_a_candidate_below_a_threshold_is_refused(
    tmp_path: Path,
    params: Params,
    dice: dict[str, list[float]],
    refused: set[str],
) -> None:
    evidence = make_evidence(tmp_path, params, score_table(dice))

    assert set(failed(judge(evidence, None, params.gate))) == refused


def test_a_class_with_too_few_test_cases_is_refused(evidence: Evidence) -> None:
    bounds = evidence.params.gate.model_copy(update={"min_test_cases_per_class": 9})

    assert failed(judge(evidence, None, bounds)) == ["test_cases_per_class"]


def metric_changed(evidence: Evidence) -> Evidence:
    return replace(evidence, metrics=evidence.metrics.model_copy(update={"dice": 0.99}))


def metric_not_finite(evidence: Evidence) -> Evidence:
    return replace(evidence, metrics=evidence.metrics.model_copy(update={"dice": np.nan}))


def metric_infinite(evidence: Evidence) -> Evidence:
    return replace(evidence, metrics=evidence.metrics.model_copy(update={"accuracy": np.inf}))


def case_left_out(evidence: Evidence) -> Evidence:
    return replace(evidence, split=evidence.split[1:])


def trained_on_test(evidence: Evidence) -> Evidence:
    leaked = evidence.split.iloc[[0]].assign(split="train", image_id="Normal/copy", group="other")
    return replace(evidence, split=pd.concat([evidence.split, leaked]))


def trained_on_the_patient(evidence: Evidence) -> Evidence:
    leaked = evidence.split.iloc[[0]].assign(split="val", image_id="Normal/y", pixel_sha256="y")
    return replace(evidence, split=pd.concat([evidence.split, leaked]))


def no_report(evidence: Evidence) -> Evidence:
    return replace(evidence, report=None)


def changed_report(key: str, value: Any) -> Any:
    def change(evidence: Evidence) -> Evidence:
        assert evidence.report
        return replace(evidence, report=evidence.report.model_copy(update={key: value}))

    return change


def few_cases(evidence: Evidence) -> Evidence:
    assert evidence.report
    return changed_report("cases", evidence.report.cases[:3])(evidence)  # type: ignore[no-any-return]


def overlay_missing(evidence: Evidence) -> Evidence:
    next((evidence.report_folder / "overlays").iterdir()).unlink()
    return evidence


def overlay_swapped(evidence: Evidence) -> Evidence:
    Image.new("RGB", (9, 9)).save(next((evidence.report_folder / "overlays").iterdir()))
    return evidence


def overlay_undecodable(evidence: Evidence) -> Evidence:
    assert evidence.report
    case, *others = evidence.report.cases
    (evidence.report_folder / case.overlay).write_bytes(b"no picture")
    sha256 = sha256_file(evidence.report_folder / case.overlay)
    cases = (case.model_copy(update={"sha256": sha256}), *others)
    return changed_report("cases", cases)(evidence)  # type: ignore[no-any-return]


def page_missing(evidence: Evidence) -> Evidence:
    (evidence.report_folder / "index.html").unlink()
    return evidence


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (metric_changed, "metrics_match_cases"),
        (metric_not_finite, "finite_metrics"),
        (metric_infinite, "finite_metrics"),
        (case_left_out, "test_split_scored"),
        (trained_on_test, "test_not_trained_on"),
        (trained_on_the_patient, "test_not_trained_on"),
        (no_report, "report"),
        (changed_report("model_sha256", "other"), "report_model_sha256"),
        (changed_report("test_split_sha256", "other"), "report_test_split_sha256"),
        (changed_report("metrics_sha256", "other"), "report_metrics_sha256"),
        (few_cases, "report_cases"),
        (changed_report("cases", ()), "report_cases"),
        (overlay_missing, "report_overlays"),
        (overlay_swapped, "report_overlays"),
        (overlay_undecodable, "report_overlays"),
        (page_missing, "report_page"),
    ],
)
def test_evidence_that_does_not_belong_together_is_refused(
    evidence: Evidence,
    spoil: Any,
    check: str,
) -> None:
    spoiled = spoil(evidence)

    assert check in failed(judge(spoiled, None, evidence.params.gate))


def test_a_report_without_cases_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")

    with pytest.raises(StageError, match=r"report\.json: .*run the stage report again"):
        Report.read(tmp_path / "report.json")


def test_a_class_that_got_worse_is_refused_though_the_mean_got_better(
    tmp_path: Path,
    params: Params,
) -> None:
    champion = ChampionScores("4", score_table({"COVID": [0.96] * 8, "Normal": [0.95] * 8}))
    better = score_table({"COVID": [0.92] * 8, "Normal": [1.0] * 8})

    checks = judge(make_evidence(tmp_path, params, better), champion, params.gate)

    assert failed(checks) == ["dice_vs_champion_COVID"]
    details = {check.name: check.detail for check in checks}
    assert details["dice_vs_champion_COVID"] == "version 4, 8 same radiographs"
    assert details["dice_vs_champion"] == "version 4, 16 same radiographs"


def test_a_loss_within_the_margin_passes(tmp_path: Path, params: Params) -> None:
    champion = ChampionScores("4", score_table(dict.fromkeys(CLASSES, [0.970] * 8)))
    slightly_worse = score_table(dict.fromkeys(CLASSES, [0.962] * 8))

    assert (
        failed(judge(make_evidence(tmp_path, params, slightly_worse), champion, params.gate)) == []
    )


def test_a_champion_scored_on_other_radiographs_proves_nothing(evidence: Evidence) -> None:
    others = score_table({"COVID": [0.5] * 3})

    checks = judge(evidence, ChampionScores("4", others), evidence.params.gate)

    assert "dice_vs_champion" in failed(checks)


dice_values = st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(dice_values, dice_values, dice_values, dice_values)
def test_a_passed_candidate_meets_every_bound(
    tmp_path: Path,
    params: Params,
    covid: list[float],
    normal: list[float],
    champion_covid: list[float],
    champion_normal: list[float],
) -> None:
    table = score_table({"COVID": covid, "Normal": normal})
    reference = score_table({"COVID": champion_covid, "Normal": champion_normal})

    checks = judge(
        make_evidence(tmp_path, params, table), ChampionScores("1", reference), params.gate
    )

    gains = table["dice"] - reference["dice"]
    means = table.groupby("class_name")["dice"].mean()
    good = (
        table["accuracy"].mean() >= params.gate.min_accuracy
        and table["dice"].mean() >= params.gate.min_dice
        and means.min() >= params.gate.min_worst_class_dice
        and gains.mean() >= -params.gate.max_drop
        and gains.groupby(table["class_name"]).mean().min() >= -params.gate.max_drop
    )
    assert (failed(checks) == []) == bool(good)


def test_the_verdict_is_kept_as_json_even_when_a_number_is_none(
    evidence: Evidence, tmp_path: Path
) -> None:
    checks = judge(metric_not_finite(evidence), None, evidence.params.gate)

    verdict = Verdict(checks=tuple(checks), candidate=evidence.candidate, champion_version=None)
    verdict.write(tmp_path / "verdict.json")

    read = Verdict.read(tmp_path / "verdict.json")
    assert read == verdict
    assert not read.passed
    assert next(check.value for check in read.checks if check.name == "dice") == "nan"
    assert "| **FAIL** | dice | nan" in verdict.markdown
    assert any(line.startswith("dice nan, required >= ") for line in verdict.reasons)


def test_scores_of_the_table_helper_are_what_they_say() -> None:
    assert score_table({"COVID": [0.9]})["dice"].iloc[0] == pytest.approx(0.9, abs=0.005)
    assert np.isclose(score_table({"COVID": [1.0]})["dice"].iloc[0], 1.0)
