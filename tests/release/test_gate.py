"""The gate's checks on evidence that belongs together, and on every way that it may not."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.conventions import STANDARD
from pipeline.errors import StageError
from pipeline.evaluation.intervals import MIN_GROUPS
from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.per_image import IDENTITY, per_image_table
from pipeline.evaluation.scores import SCORES, Counts
from pipeline.evaluation.visual_report import Report
from pipeline.files import sha256_file
from pipeline.inference.released import ReleasedModel
from pipeline.params import GateParams, Params
from pipeline.release.bounds import Bounds, find_bounds
from pipeline.release.champion import Reference
from pipeline.release.evidence import Evidence
from pipeline.release.gate import References, judge
from pipeline.release.release_log import ChampionState, ReleaseLog
from pipeline.release.verdict import Check, Prediction, Verdict
from tests.evaluation.images import image_of
from tests.release.runs import CLASSES, write_report

Spoil = Callable[[Evidence], Evidence]
AGAIN = Prediction(seed=1, radiographs=5, differing=())
EMPTY = ReleaseLog("lungs", (), (), {}, {}, 0, ())


def score_table(dice: dict[str, list[float]]) -> pd.DataFrame:
    """Per-image scores of masks of 100 lung pixels whose Dice is as given."""
    rows = []
    for name, values in dice.items():
        for number, value in enumerate(values):
            missed = round(200 * (1 - value) / (2 - value))
            counts = Counts(tp=100 - missed, fp=0, fn=missed, tn=900)
            rows.append(image_of(f"{name}/{number}", counts))
    return per_image_table(rows)


def make_evidence(folder: Path, params: Params, per_image: pd.DataFrame) -> Evidence:
    """A consistent set of evidence with a report of its nine worst cases."""
    test = per_image[[*IDENTITY, "spacing"]].assign(split="test")
    test["convention"] = per_image.get("convention", STANDARD)
    test["mask_sha256"] = "mask of " + test["image_id"]
    train = test.groupby("class_name").head(1).assign(split="train")
    for column in ("image_id", "group", "pixel_sha256"):
        train[column] = train["class_name"] + "/trained"
    split = pd.concat([test, train])
    hashes = {f"{name}_sha256": name for name in ("model", "metrics", "per_image")}
    report = write_report(folder, per_image, split, **hashes)
    return Evidence(
        model_id="m-1",
        model_sha256="model",
        release_sha256="release",
        model=ReleasedModel(folder, whole=True),
        evaluate=params.evaluate,
        params=params.model_dump(by_alias=True),
        params_sha256="params",
        metrics=Metrics.of(per_image),
        metrics_sha256="metrics",
        per_image=per_image,
        per_image_sha256="per_image",
        split=split,
        report=report,
        report_problem="",
        report_folder=folder,
        report_sha256="report",
        dvc_lock={"artifacts/train/model.onnx": "1"},
        dvc_lock_sha256="lock",
        found_md5={"artifacts/train/model.onnx": "1"},
    )


def judged(
    evidence: Evidence,
    gate: GateParams,
    champion: Reference | None = None,
    best: Reference | None = None,
    prediction: Prediction | None = AGAIN,
) -> list[Check]:
    state = ChampionState("released" if champion else "none", None, "as it is")
    bounds = Bounds(used=gate, deployed_revision="c0ffee")
    return judge(evidence, bounds, References(EMPTY, state, champion, best), prediction)


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


@pytest.fixture
def evidence(tmp_path: Path, params: Params) -> Evidence:
    return make_evidence(tmp_path, params, score_table(dict.fromkeys(CLASSES, [0.97] * 8)))


def test_a_good_first_candidate_passes_on_its_own(evidence: Evidence, params: Params) -> None:
    checks = judged(evidence, params.gate)

    assert failed(checks) == []
    assert [check.name for check in checks][:4] == [
        "accuracy",
        "dice",
        "worst_class_dice",
        "failures",
    ]
    assert not [check for check in checks if "dice_vs" in check.name]


@pytest.mark.parametrize(
    ("dice", "refused"),
    [
        ({"COVID": [0.80] * 8, "Normal": [0.80] * 8}, {"dice", "worst_class_dice", "failures"}),
        ({"COVID": [0.85] * 8, "Normal": [0.99] * 8}, {"worst_class_dice", "failures"}),
        ({"COVID": [0.99] * 6 + [0.8] * 2, "Normal": [0.99] * 8}, {"failures"}),
    ],
)
def test_a_candidate_below_a_bound_is_refused(
    tmp_path: Path, params: Params, dice: dict[str, list[float]], refused: set[str]
) -> None:
    evidence = make_evidence(tmp_path, params, score_table(dice))

    assert set(failed(judged(evidence, params.gate))) == refused


@pytest.mark.parametrize(("bound", "check"), [("max_hd95", "hd95"), ("max_ece", "ece")])
def test_borders_and_calibration_have_bounds_of_their_own(
    evidence: Evidence, params: Params, bound: str, check: str
) -> None:
    value = getattr(evidence.metrics, check)
    met = params.gate.model_copy(update={bound: value})
    missed = params.gate.model_copy(update={bound: value * 0.99})

    assert failed(judged(evidence, met)) == []
    assert failed(judged(evidence, missed)) == [check]


def test_a_class_with_too_few_test_cases_is_refused(evidence: Evidence, params: Params) -> None:
    bounds = params.gate.model_copy(update={"min_test_cases_per_class": 9})

    assert failed(judged(evidence, bounds)) == ["test_cases_per_class"]


def test_a_class_that_only_trains_is_refused(evidence: Evidence, params: Params) -> None:
    alone = evidence.split.iloc[[-1]].assign(
        class_name="TB", image_id="TB/1", group="TB/1", pixel_sha256="TB/1"
    )
    spoiled = replace(evidence, split=pd.concat([evidence.split, alone]))
    rebound = spoiled_report(spoiled, data_sha256=data_hash(spoiled))

    (check,) = [one for one in judged(rebound, params.gate) if not one.passed]
    assert (check.name, check.found) == ("test_cases_per_class", "0 (TB)")


def data_hash(evidence: Evidence) -> str:
    from pipeline.dataset.splits.table import data_sha256

    return data_sha256(evidence.split)


def spoiled_report(evidence: Evidence, **fields: Any) -> Evidence:
    assert evidence.report
    return replace(evidence, report=evidence.report.model_copy(update=fields))


def cell(column: str, value: Any, row: int = 3) -> Spoil:
    """Another value in a row of the per-image table; the metrics follow."""

    def spoil(evidence: Evidence) -> Evidence:
        table = evidence.per_image.copy()
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return replace(evidence, per_image=table)

    return spoil


def metric(name: str, value: float) -> Spoil:
    return lambda evidence: replace(
        evidence, metrics=evidence.metrics.model_copy(update={name: value})
    )


def rows(choose: Callable[[pd.DataFrame], pd.DataFrame]) -> Spoil:
    return lambda evidence: replace(
        evidence, per_image=choose(evidence.per_image).reset_index(drop=True)
    )


def in_training(**fields: str) -> Spoil:
    """A training row that has something in common with a test row."""

    def spoil(evidence: Evidence) -> Evidence:
        row = evidence.split.iloc[[0]].assign(
            **{"split": "train", "image_id": "N/y", "group": "N/y", "pixel_sha256": "y", **fields}
        )
        changed = replace(evidence, split=pd.concat([evidence.split, row]))
        return spoiled_report(changed, data_sha256=data_hash(changed))

    return spoil


def case(**fields: Any) -> Spoil:
    """The report's first case said otherwise."""

    def spoil(evidence: Evidence) -> Evidence:
        assert evidence.report
        first, *others = evidence.report.cases
        return spoiled_report(evidence, cases=(first.model_copy(update=fields), *others))

    return spoil


def overlay(change: Callable[[Path], object], rebind: bool = True) -> Spoil:
    """The first case's picture replaced, and its hash in the report as well."""

    def spoil(evidence: Evidence) -> Evidence:
        assert evidence.report
        file = evidence.report_folder / evidence.report.cases[0].overlay
        change(file)
        return case(sha256=sha256_file(file))(evidence) if rebind else evidence

    return spoil


def bomb(file: Path) -> None:
    """A PNG of a few hundred bytes that says it has 30,000 by 30,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(300_000))
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def outside(evidence: Evidence) -> Evidence:
    """A picture that lies outside of the report."""
    stranger = evidence.report_folder.parent / "stranger.png"
    Image.new("RGB", (5, 5)).save(stranger)
    return case(overlay="../stranger.png", sha256=sha256_file(stranger))(evidence)


def one_picture_for_all(evidence: Evidence) -> Evidence:
    assert evidence.report
    first = evidence.report.cases[0]
    same = {"overlay": first.overlay, "sha256": first.sha256}
    cases = tuple(one.model_copy(update=same) for one in evidence.report.cases)
    return spoiled_report(evidence, cases=cases)


def page_missing(evidence: Evidence) -> Evidence:
    (evidence.report_folder / "index.html").unlink()
    return evidence


def worst_not_shown(evidence: Evidence) -> Evidence:
    worse = cell("dice", 0.2)(evidence).per_image  # not possible, but here only the case is judged
    assert evidence.report
    kept = [one for one in evidence.report.cases if one.image_id != worse["image_id"][3]]
    return spoiled_report(evidence, cases=tuple(kept))


ATTACKS: dict[str, tuple[Spoil, str]] = {
    "borders that are no number": (cell("hd95", float("nan")), "scores_possible"),
    "borders further apart than the picture": (cell("left_assd", 1e9), "scores_possible"),
    "a share above one": (cell("right_nsd", 1.5), "scores_possible"),
    "a calibration that is no number": (cell("ece", float("nan")), "scores_possible"),
    "an area error that its counts do not give": (cell("area_error", 0.0), "scores_possible"),
    "a lung with more pixels than both": (cell("left_tp", 5), "scores_possible"),
    "another source": (cell("source", "elsewhere"), "test_split_scored"),
    "better borders in the metrics": (metric("hd95", 0.1), "metrics_match_cases"),
    "a narrower interval": (
        metric("intervals", {"dice": (0.96, 0.97)}),
        "metrics_match_cases",
    ),
    "a better mean": (metric("dice", 0.99), "metrics_match_cases"),
    "a mean that is no number": (metric("dice", np.nan), "finite_metrics"),
    "an infinite mean": (metric("accuracy", np.inf), "finite_metrics"),
    "a row left out": (rows(lambda table: table[1:]), "test_split_scored"),
    "a row twice": (rows(lambda table: pd.concat([table, table[:1]])), "test_split_scored"),
    "a bad row replaced by a good one": (
        rows(lambda table: pd.concat([table[1:], table[1:2]])),
        "test_split_scored",
    ),
    "another class": (cell("class_name", "Normal"), "test_split_scored"),
    "one class for all": (
        rows(lambda table: table.assign(class_name="Normal")),
        "test_split_scored",
    ),
    "another patient": (cell("group", "COVID/4"), "test_split_scored"),
    "one patient for all": (rows(lambda table: table.assign(group="x")), "test_split_scored"),
    "another radiograph": (cell("pixel_sha256", "other"), "test_split_scored"),
    "another name": (cell("image_id", "COVID/99"), "test_split_scored"),
    **{f"{name} 7.0": (cell(name, 7.0), "scores_possible") for name in SCORES},
    **{f"{name} nan": (cell(name, np.nan), "scores_possible") for name in SCORES},
    **{f"{name} inf": (cell(name, np.inf), "scores_possible") for name in SCORES},
    "a score that its counts do not give": (cell("dice", 0.99), "scores_possible"),
    "negative counts": (cell("fp", -30), "scores_possible"),
    "no pixels": (
        rows(lambda table: table.assign(tp=0, fp=0, fn=0, tn=0)),
        "scores_possible",
    ),
    "a test picture in training": (in_training(pixel_sha256="COVID/0"), "test_not_trained_on"),
    "a test patient in training": (in_training(group="COVID/0"), "test_not_trained_on"),
    "a test name in training": (in_training(image_id="COVID/0"), "test_not_trained_on"),
    "a test patient in validation": (
        in_training(group="COVID/0", split="val"),
        "test_not_trained_on",
    ),
    "a file that DVC did not record": (
        lambda evidence: replace(evidence, found_md5={"artifacts/train/model.onnx": "2"}),
        "files_as_recorded",
    ),
    "no report": (
        lambda evidence: replace(evidence, report=None, report_problem="missing"),
        "report",
    ),
    **{
        f"a report of another {name}": (
            lambda evidence, name=name: spoiled_report(evidence, **{f"{name}_sha256": "other"}),
            f"report_{name}_sha256",
        )
        for name in ("model", "test_split", "data", "metrics", "per_image")
    },
    "too few cases": (
        lambda evidence: spoiled_report(evidence, cases=evidence.report.cases[:3]),  # type: ignore[union-attr]
        "report_cases",
    ),
    "no cases": (lambda evidence: spoiled_report(evidence, cases=()), "report_cases"),
    "a foreign case": (case(image_id="elsewhere/1"), "report_cases_scored"),
    "a case of training": (case(image_id="COVID/trained"), "report_cases_scored"),
    "a case with another score": (case(dice=0.1), "report_cases_scored"),
    "a case with no score": (case(dice=float("nan")), "report_cases_scored"),
    "a report of fewer test cases": (
        lambda evidence: spoiled_report(evidence, test_cases=3),
        "report_cases_scored",
    ),
    "a picture missing": (overlay(Path.unlink, rebind=False), "report_overlays"),
    "a picture swapped": (
        overlay(lambda file: Image.new("RGB", (9, 9)).save(file), rebind=False),
        "report_overlays",
    ),
    "no picture": (overlay(lambda file: file.write_bytes(b"no picture")), "report_overlays"),
    "an empty picture": (overlay(lambda file: file.write_bytes(b"")), "report_overlays"),
    "half of a picture": (
        overlay(lambda file: file.write_bytes(file.read_bytes()[:60])),
        "report_overlays",
    ),
    "a picture bomb": (overlay(bomb), "report_overlays"),
    "another kind of picture": (
        overlay(lambda file: Image.new("RGB", (9, 9)).save(file, format="GIF")),
        "report_overlays",
    ),
    "a picture elsewhere": (outside, "report_overlays"),
    "one picture for all": (one_picture_for_all, "report_overlays"),
    "no page": (page_missing, "report_page"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_evidence_that_does_not_belong_together_is_refused(
    evidence: Evidence, params: Params, name: str
) -> None:
    spoil, check = ATTACKS[name]

    assert check in failed(judged(spoil(evidence), params.gate))


def test_a_radiograph_that_is_there_twice_need_not_be_shown_twice(
    tmp_path: Path, params: Params
) -> None:
    table = score_table({"COVID": [0.93, 0.93, 0.97, 0.97], "Normal": [0.97] * 5})
    table.loc[1, "pixel_sha256"] = "COVID/0"
    evidence = make_evidence(tmp_path, params, table)
    assert evidence.report
    shown = [one for one in evidence.report.cases if one.image_id != "COVID/1"]

    checks = judged(spoiled_report(evidence, cases=tuple(shown)), params.gate)
    fewer = judged(spoiled_report(evidence, cases=tuple(shown[:-1])), params.gate)

    assert failed(checks) == []
    assert failed(fewer) == ["report_cases"]


def test_the_worst_radiograph_must_be_among_the_shown(tmp_path: Path, params: Params) -> None:
    table = score_table({"COVID": [0.95, *[0.97] * 11], "Normal": [0.97] * 8})
    evidence = make_evidence(tmp_path, params, table)
    assert evidence.report
    shown = [one for one in evidence.report.cases if one.image_id != "COVID/0"]

    checks = judged(spoiled_report(evidence, cases=tuple(shown)), params.gate)

    assert "report_worst_case" in failed(checks)


@pytest.mark.parametrize(
    "prediction",
    [
        None,
        Prediction(seed=1, radiographs=0, differing=()),
        Prediction(seed=1, radiographs=5, differing=("COVID/1",)),
    ],
)
def test_a_file_that_predicts_otherwise_is_refused(
    evidence: Evidence, params: Params, prediction: Prediction | None
) -> None:
    assert failed(judged(evidence, params.gate, prediction=prediction)) == ["predicted_again"]


def test_a_report_that_cannot_be_read_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")

    with pytest.raises(StageError, match=r"report\.json: .*run the stage report again"):
        Report.read(tmp_path / "report.json")


def reference(dice: dict[str, list[float]]) -> Reference:
    return Reference("4", score_table(dice))


def test_a_class_that_got_worse_is_refused_though_the_mean_got_better(
    tmp_path: Path, params: Params
) -> None:
    champion = reference({"COVID": [0.96] * 8, "Normal": [0.95] * 8})
    better = score_table({"COVID": [0.92] * 8, "Normal": [1.0] * 8})

    checks = judged(make_evidence(tmp_path, params, better), params.gate, champion)

    assert failed(checks) == ["dice_vs_champion_COVID"]
    details = {check.name: check.detail for check in checks}
    assert details["dice_vs_champion_COVID"] == (
        f"version 4, 8 same radiographs, point rule, fewer than {MIN_GROUPS} groups"
    )


def test_a_loss_within_the_margin_passes(tmp_path: Path, params: Params) -> None:
    champion = reference(dict.fromkeys(CLASSES, [0.970] * 8))
    slightly_worse = score_table(dict.fromkeys(CLASSES, [0.962] * 8))
    evidence = make_evidence(tmp_path, params, slightly_worse)

    assert failed(judged(evidence, params.gate, champion)) == []


def test_small_losses_do_not_add_up(tmp_path: Path, params: Params) -> None:
    best = reference(dict.fromkeys(CLASSES, [0.99] * 8))
    champion = reference(dict.fromkeys(CLASSES, [0.97] * 8))
    evidence = make_evidence(tmp_path, params, score_table(dict.fromkeys(CLASSES, [0.965] * 8)))

    checks = judged(evidence, params.gate, champion, best)

    assert failed(checks) == ["dice_vs_best", "dice_vs_best_COVID", "dice_vs_best_Normal"]


def in_conventions(table: pd.DataFrame) -> pd.DataFrame:
    """Half of each class is of another convention."""
    odd = table["image_id"].str[-1].astype(int) % 2 == 1
    return table.assign(convention=np.where(odd, "heart", STANDARD))


def test_a_convention_that_got_worse_is_refused_though_each_class_got_better(
    tmp_path: Path, params: Params
) -> None:
    champion = Reference("4", in_conventions(score_table(dict.fromkeys(CLASSES, [0.95] * 8))))
    table = in_conventions(score_table(dict.fromkeys(CLASSES, [0.92, 1.0] * 4)))

    checks = judged(make_evidence(tmp_path, params, table), params.gate, champion)

    assert failed(checks) == ["dice_vs_champion_in_standard"]
    details = {check.name: check.detail for check in checks}
    assert details["dice_vs_champion_in_heart"].startswith("version 4, 8 same radiographs, point")


@pytest.mark.parametrize(("learned", "refused"), [("heart", ["worst_convention_dice"]), ("", [])])
def test_a_convention_that_the_model_learned_badly_is_refused_though_its_class_is_good(
    tmp_path: Path, params: Params, learned: str, refused: list[str]
) -> None:
    table = score_table(dict.fromkeys(CLASSES, [0.97] * 30 + [0.6] * 2))
    number = table["image_id"].str.partition("/")[2].astype(int)
    table = table.assign(convention=np.where(number >= 30, "heart", STANDARD))
    evidence = make_evidence(tmp_path, params, table)
    if learned:
        evidence.split.loc[evidence.split["split"] == "train", "convention"] = learned

    assert failed(judged(evidence, params.gate)) == refused


def test_a_gain_in_a_convention_that_the_champion_does_not_know_hides_no_loss(
    tmp_path: Path, params: Params
) -> None:
    champion = reference({"COVID": [0.95, 0.7] * 4, "Normal": [0.95, 0.7] * 4})
    table = in_conventions(score_table(dict.fromkeys(CLASSES, [0.92, 0.97] * 4)))

    checks = judged(make_evidence(tmp_path, params, table), params.gate, champion)

    # The first is of standard alone: of all it would be a gain.
    names = ["", "_COVID", "_Normal", "_in_standard"]
    assert failed(checks) == [f"dice_vs_champion{name}" for name in names]
    details = {check.name: check.detail for check in checks}
    assert details["dice_vs_champion"].startswith("version 4, 8 same radiographs")
    assert details["dice_vs_champion_in_heart"].endswith(
        "; it does not know this convention and answered in standard"
    )


def test_a_champion_that_knows_none_of_the_conventions_is_compared_and_that_is_said(
    tmp_path: Path, params: Params
) -> None:
    table = score_table(dict.fromkeys(CLASSES, [0.96] * 8)).assign(convention="heart")

    checks = judged(
        make_evidence(tmp_path, params, table),
        params.gate,
        reference(dict.fromkeys(CLASSES, [0.95] * 8)),
    )

    compared = [check for check in checks if check.name.startswith("dice_vs")]
    assert [check.name for check in compared] == ["dice_vs_champion_in_heart"]
    assert "it does not know this convention" in compared[0].detail
    assert failed(checks) == []


@pytest.mark.parametrize(
    "dice", [{"COVID": [0.5] * 3}, {"COVID": [0.5] * 8, "Normal": [0.5] * 8, "TB": [0.5]}]
)
def test_a_champion_scored_on_other_radiographs_proves_nothing(
    evidence: Evidence, params: Params, dice: dict[str, list[float]]
) -> None:
    assert "dice_vs_champion" in failed(judged(evidence, params.gate, reference(dice)))


def test_many_patients_are_resampled_and_few_lose_by_their_mean(
    tmp_path: Path, params: Params
) -> None:
    spread = np.random.default_rng(0).normal(0, 0.05, 64).clip(-0.04, 0.04)
    base = {"COVID": [0.95] * 64, "Normal": [0.95] * 64}
    noisy = {"COVID": list(0.942 + spread - spread.mean()), "Normal": [0.96] * 64}
    gate = params.gate.model_copy(update={"max_failures": 1.0})

    checks = judged(make_evidence(tmp_path, params, score_table(noisy)), gate, reference(base))

    found = {check.name: check for check in checks}
    assert failed(checks) == ["dice_vs_champion_COVID"]  # its mean is within the margin
    assert "lower bound over 64 groups" in found["dice_vs_champion_COVID"].detail
    assert "mean -0.00" in found["dice_vs_champion_COVID"].detail


dice_values = st.lists(st.floats(0.85, 1.0), min_size=8, max_size=8)
tables = st.tuples(dice_values, dice_values).map(lambda one: dict(zip(CLASSES, one, strict=True)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, tables)
def test_a_passed_candidate_meets_every_bound(
    tmp_path: Path,
    params: Params,
    dice: dict[str, list[float]],
    champion: dict[str, list[float]],
) -> None:
    table, before = score_table(dice), score_table(champion)

    checks = judged(make_evidence(tmp_path, params, table), params.gate, Reference("1", before))

    gains = table["dice"] - before["dice"]
    means = table.groupby("class_name")["dice"].mean()
    good = (
        table["accuracy"].mean() >= params.gate.min_accuracy
        and table["dice"].mean() >= params.gate.min_dice
        and means.min() >= params.gate.min_worst_class_dice
        and (table["dice"] < 0.90).mean() <= params.gate.max_failures
        and gains.mean() >= -params.gate.max_drop
        and gains.groupby(table["class_name"]).mean().min() >= -params.gate.max_drop
    )
    assert (failed(checks) == []) == bool(good)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, tables, st.lists(st.floats(0, 1), min_size=16, max_size=16), st.integers(1, 8))
def test_a_better_candidate_never_fails_where_a_worse_one_passes(
    tmp_path: Path,
    params: Params,
    dice: dict[str, list[float]],
    champion: dict[str, list[float]],
    gains: list[float],
    copies: int,
) -> None:
    shares = iter(gains)
    better = {
        name: [value + next(shares) * (1 - value) for value in values]
        for name, values in dice.items()
    }
    reference = Reference("1", score_table({k: v * copies for k, v in champion.items()}))

    worse_checks, better_checks = (
        judged(
            make_evidence(tmp_path, params, score_table({k: v * copies for k, v in one.items()})),
            params.gate,
            reference,
            reference,
        )
        for one in (dice, better)
    )

    assert failed(worse_checks) or not failed(better_checks)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(ATTACKS)),
    dice=tables,
)
def test_no_spoiled_candidate_passes_whatever_its_scores(
    tmp_path: Path, params: Params, name: str, dice: dict[str, list[float]]
) -> None:
    evidence = make_evidence(tmp_path, params, score_table(dice))

    assert failed(judged(ATTACKS[name][0](evidence), params.gate)) != []


def test_the_verdict_is_kept_as_json_even_when_a_number_is_none(
    evidence: Evidence, params: Params, tmp_path: Path
) -> None:
    checks = judged(metric("dice", np.nan)(evidence), params.gate)
    bounds = find_bounds("c0ffee", params.gate, {"min_dice": 0.1}, [], "")

    verdict = Verdict(
        checks=tuple(checks),
        candidate=evidence.candidate,
        bounds=bounds,
        champion_version=None,
        metrics={},
    )
    verdict.write(tmp_path / "verdict.json")

    read = Verdict.read(tmp_path / "verdict.json")
    assert read == verdict
    assert not read.passed
    assert next(check.value for check in read.checks if check.name == "dice") == "nan"
    assert "| **FAIL** | dice | nan" in verdict.markdown
    assert "Bounds lowered: min_dice 0.1 instead of 0.9 (not allowed)." in verdict.markdown
    assert any(line.startswith("dice nan, required >= ") for line in verdict.reasons)


def test_scores_of_the_table_helper_are_what_they_say() -> None:
    assert score_table({"COVID": [0.9]})["dice"].iloc[0] == pytest.approx(0.9, abs=0.005)
    assert np.isclose(score_table({"COVID": [1.0]})["dice"].iloc[0], 1.0)
