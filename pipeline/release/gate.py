"""The gate, which says whether a candidate may be released.

It acts on what MLflow recorded of the run, checks that the evidence belongs together by hash, and
compares with the champion on the same test radiographs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.dataset.splits.table import select_split
from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.visual_report import ShownCase
from pipeline.files import sha256_file
from pipeline.params import GateParams, flatten
from pipeline.release.champion import ChampionScores, score_champion
from pipeline.release.evidence import Evidence, load_evidence
from pipeline.release.verdict import VERDICT, Check, Verdict
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace


def run_gate(record: RunRecord, workspace: Workspace) -> Verdict:
    """Judge the run's candidate and keep the verdict in its run record."""
    with tempfile.TemporaryDirectory() as temporary:
        evidence = load_evidence(record, Path(temporary))
        champion = score_champion(record, workspace, evidence, Path(temporary))
        verdict = Verdict(
            checks=tuple(judge(evidence, champion, evidence.params.gate)),
            candidate=evidence.candidate,
            champion_version=champion.version if champion else None,
        )
    record.client.log_dict(record.run_id, verdict.model_dump(mode="json"), VERDICT)
    for key, value in {
        "gate": verdict.status,
        "gate.reasons": "; ".join(verdict.reasons)[:5000],
        "mlflow.note.content": verdict.markdown,
    }.items():
        record.client.set_tag(record.run_id, key, value)
    return verdict


def judge(
    evidence: Evidence,
    champion: ChampionScores | None,
    bounds: GateParams,
) -> list[Check]:
    """Return every check of the gate, in the order a person reads them."""
    return [
        *_thresholds(evidence.metrics, bounds),
        *_consistency(evidence),
        *_report(evidence, bounds),
        *(_against(champion, evidence.per_image, bounds.max_drop) if champion else ()),
    ]


def _thresholds(metrics: Metrics, bounds: GateParams) -> Iterable[Check]:
    for name, value, bound in (
        ("accuracy", metrics.accuracy, bounds.min_accuracy),
        ("dice", metrics.dice, bounds.min_dice),
        ("worst_class_dice", metrics.worst_class_dice, bounds.min_worst_class_dice),
    ):
        yield Check(name=name, value=value, bound=f">= {bound}", passed=value >= bound)
    cases = {name: float(one.cases) for name, one in metrics.classes.items()}
    fewest = min(cases, key=lambda name: cases[name], default="no class")
    value = cases.get(fewest, 0.0)
    yield Check(
        name="test_cases_per_class",
        value=value,
        bound=f">= {bounds.min_test_cases_per_class}",
        passed=value >= bounds.min_test_cases_per_class,
        detail=fewest,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _consistency(evidence: Evidence) -> Iterable[Check]:
    numbers = flatten(evidence.metrics.model_dump())
    odd = [name for name, value in numbers.items() if not math.isfinite(_number(value))]
    yield Check(
        name="finite_metrics", value=", ".join(odd) or "all", bound="all finite", passed=not odd
    )
    recomputed = flatten(Metrics.of(evidence.per_image).model_dump())
    differing = [
        name
        for name, value in recomputed.items()
        if not math.isclose(_number(numbers.get(name)), value, abs_tol=1e-6)
    ]
    yield Check(
        name="metrics_match_cases",
        value=", ".join(differing[:3]) or "all",
        bound="metrics.json agrees with per_image.parquet",
        passed=not differing,
    )
    scored = set(
        zip(evidence.per_image["image_id"], evidence.per_image["pixel_sha256"], strict=True)
    )
    test = select_split(evidence.split, "test")
    expected = set(zip(test["image_id"], test["pixel_sha256"], strict=True))
    yield Check(
        name="test_split_scored",
        value=f"{len(scored & expected)} of {len(expected)}",
        bound="exactly the test split",
        passed=scored == expected,
    )
    yield _not_trained_on(test, evidence.split[evidence.split["split"] != "test"])


def _not_trained_on(test: pd.DataFrame, others: pd.DataFrame) -> Check:
    """Whether no test radiograph, nor its patient or a near-duplicate, is in another split."""
    bound = "no picture and no group in another split"
    leaked = test["pixel_sha256"].isin(others["pixel_sha256"])
    leaked |= test["group"].isin(others["group"])
    return Check(
        name="test_not_trained_on",
        value=f"{leaked.sum()} leaked",
        bound=bound,
        passed=not leaked.any(),
    )


def _report(evidence: Evidence, bounds: GateParams) -> Iterable[Check]:
    report = evidence.report
    if report is None:
        yield Check(name="report", value="missing", bound="rendered", passed=False)
        return
    for name, expected in (
        ("model_sha256", evidence.model_sha256),
        ("test_split_sha256", evidence.test_split_sha256),
        ("metrics_sha256", evidence.metrics_sha256),
    ):
        found = str(getattr(report, name))
        yield Check(
            name=f"report_{name}",
            value=found[:12],
            bound=f"== {expected[:12]}",
            passed=found == expected,
        )
    broken = [case.overlay for case in report.cases if not _decodes(evidence, case)]
    yield Check(
        name="report_overlays",
        value=", ".join(broken[:3]) or "all",
        bound="every overlay decodes and is unchanged",
        passed=not broken,
    )
    index = evidence.report_folder / "index.html"
    intact = index.exists() and sha256_file(index) == report.index_sha256
    yield Check(
        name="report_page",
        value="intact" if intact else "missing or changed",
        bound="intact",
        passed=intact,
    )
    required = min(bounds.min_report_cases, len(evidence.per_image))
    shown = float(len({case.image_id for case in report.cases}))
    yield Check(name="report_cases", value=shown, bound=f">= {required}", passed=shown >= required)


def _decodes(evidence: Evidence, case: ShownCase) -> bool:
    overlay = evidence.report_folder / case.overlay
    if not overlay.is_file() or sha256_file(overlay) != case.sha256:
        return False
    try:
        with Image.open(overlay) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def _against(
    champion: ChampionScores,
    candidate: pd.DataFrame,
    max_drop: float,
) -> Iterable[Check]:
    reference = champion.per_image[["image_id", "dice"]]
    both = candidate.merge(reference, on="image_id", suffixes=("", "_champion"))
    both["gain"] = both["dice"] - both["dice_champion"]
    groups = [("", both), *((f"_{name}", rows) for name, rows in both.groupby("class_name"))]
    for suffix, rows in groups:
        gain = float(rows["gain"].mean())
        yield Check(
            name=f"dice_vs_champion{suffix}",
            value=gain,
            bound=f">= -{max_drop}",
            passed=gain >= -max_drop and len(both) == len(candidate),
            detail=f"version {champion.version}, {len(rows)} same radiographs",
        )
