"""The gate, which says whether a candidate may be released.

It acts on what MLflow recorded of the run, checks that the evidence belongs together by hash, and
compares with the champion on the same test radiographs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.evaluation.scores import summarise_classes
from pipeline.files import sha256_file
from pipeline.params import GateParams, flatten
from pipeline.release.champion import ChampionScores, score_champion
from pipeline.release.evidence import Evidence, load_evidence
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace

VERDICT = "gate/verdict.json"


@dataclass(frozen=True)
class Check:
    """One condition of the gate."""

    name: str
    value: float | str | None
    bound: str
    passed: bool
    detail: str = ""

    @property
    def line(self) -> str:
        """The check in one line, for people."""
        value = f"{self.value:.4f}" if isinstance(self.value, float) else self.value
        return f"{self.name} {value}, required {self.bound}" + (
            f" ({self.detail})" if self.detail else ""
        )


@dataclass(frozen=True)
class Verdict:
    """Every check, and what was judged against what."""

    checks: list[Check]
    candidate: dict[str, str]
    champion_version: str | None

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """The failed checks, each in one line."""
        return [check.line for check in self.checks if not check.passed]

    def as_json(self) -> dict[str, Any]:
        """Return what is kept in MLflow; NaN becomes a string, JSON has none."""
        checks = [asdict(check) for check in self.checks]
        for check in checks:
            if isinstance(check["value"], float) and not math.isfinite(check["value"]):
                check["value"] = str(check["value"])
        return {
            "passed": self.passed,
            "checks": checks,
            "candidate": self.candidate,
            "champion_version": self.champion_version,
        }


def run_gate(record: RunRecord, workspace: Workspace) -> dict[str, Any]:
    """Judge the run's candidate, keep the verdict in its MLflow run and return the outcome."""
    with tempfile.TemporaryDirectory() as temporary:
        evidence = load_evidence(record, Path(temporary))
        champion = score_champion(record, workspace, evidence, Path(temporary))
        verdict = Verdict(
            judge(evidence, champion, evidence.params.gate),
            evidence.identity,
            champion.version if champion else None,
        )
    record.client.log_dict(record.run_id, verdict.as_json(), VERDICT)
    status = "passed" if verdict.passed else "refused"
    for key, value in {
        "gate": status,
        "gate.reasons": "; ".join(verdict.reasons)[:5000],
        "mlflow.note.content": render(verdict),
    }.items():
        record.client.set_tag(record.run_id, key, value)
    return {"status": status, "reason": "; ".join(verdict.reasons), **verdict.as_json()}


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


def _thresholds(metrics: Mapping[str, Any], bounds: GateParams) -> Iterable[Check]:
    for name, bound in (
        ("accuracy", bounds.min_accuracy),
        ("dice", bounds.min_dice),
        ("worst_class_dice", bounds.min_worst_class_dice),
    ):
        value = _number(metrics.get(name))
        yield Check(name, value, f">= {bound}", value >= bound)
    cases = {name: _number(one.get("cases")) for name, one in metrics.get("classes", {}).items()}
    fewest = min(cases, key=lambda name: cases[name], default="no class")
    value = cases.get(fewest, 0.0)
    yield Check(
        "test_cases_per_class",
        value,
        f">= {bounds.min_test_cases_per_class}",
        value >= bounds.min_test_cases_per_class,
        fewest,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _consistency(evidence: Evidence) -> Iterable[Check]:
    numbers = flatten(evidence.metrics)
    odd = [name for name, value in numbers.items() if not math.isfinite(_number(value))]
    yield Check("finite_metrics", ", ".join(odd) or "all", "all finite", not odd)
    recomputed = flatten(summarise_classes(evidence.per_image))
    differing = [
        name
        for name, value in recomputed.items()
        if not math.isclose(_number(numbers.get(name)), value, abs_tol=1e-6)
    ]
    yield Check(
        "metrics_match_cases",
        ", ".join(differing[:3]) or "all",
        "metrics.json agrees with per_image.parquet",
        not differing,
    )
    scored = set(
        zip(evidence.per_image["image_id"], evidence.per_image["pixel_sha256"], strict=True)
    )
    test = evidence.split[evidence.split["split"] == "test"]
    expected = set(zip(test["image_id"], test["pixel_sha256"], strict=True))
    yield Check(
        "test_split_scored",
        f"{len(scored & expected)} of {len(expected)}",
        "exactly the test split",
        scored == expected,
    )
    yield _not_trained_on(test, evidence.split[evidence.split["split"] != "test"])


def _not_trained_on(test: pd.DataFrame, others: pd.DataFrame) -> Check:
    """Whether no test radiograph, nor its patient or a near-duplicate, is on another side."""
    bound = "no picture and no group on another side"
    if "group" not in test:
        return Check("test_not_trained_on", "groups unknown", bound, passed=False)
    leaked = test["pixel_sha256"].isin(others["pixel_sha256"])
    leaked |= test["group"].isin(others["group"])
    return Check("test_not_trained_on", f"{leaked.sum()} leaked", bound, not leaked.any())


def _report(evidence: Evidence, bounds: GateParams) -> Iterable[Check]:
    report = evidence.report
    if report is None:
        yield Check("report", "missing", "rendered", passed=False)
        return
    for name, expected in (
        ("model_sha256", evidence.model_sha256),
        ("test_split_sha256", evidence.test_split_sha256),
        ("metrics_sha256", evidence.metrics_sha256),
    ):
        found = str(report.get(name))
        yield Check(f"report_{name}", found[:12], f"== {expected[:12]}", found == expected)
    broken = [case["overlay"] for case in report["cases"] if not _decodes(evidence, case)]
    yield Check(
        "report_overlays",
        ", ".join(broken[:3]) or "all",
        "every overlay decodes and is unchanged",
        not broken,
    )
    index = evidence.report_folder / "index.html"
    intact = index.exists() and sha256_file(index) == report.get("index_sha256")
    yield Check("report_page", "intact" if intact else "missing or changed", "intact", intact)
    required = min(bounds.min_report_cases, len(evidence.per_image))
    shown = float(len({case["image_id"] for case in report["cases"]}))
    yield Check("report_cases", shown, f">= {required}", shown >= required)


def _decodes(evidence: Evidence, case: Mapping[str, str]) -> bool:
    overlay = evidence.report_folder / case["overlay"]
    if not overlay.is_file() or sha256_file(overlay) != case["sha256"]:
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
            f"dice_vs_champion{suffix}",
            gain,
            f">= -{max_drop}",
            gain >= -max_drop and len(both) == len(candidate),
            f"version {champion.version}, {len(rows)} same radiographs",
        )


def render(verdict: Verdict) -> str:
    """Return the verdict as Markdown, for MLflow's pages."""
    rows = [
        f"| {'pass' if one.passed else '**FAIL**'} | {one.name} | {_shown(one)} | {one.bound} |"
        for one in verdict.checks
    ]
    head = "passed" if verdict.passed else "**refused**"
    table = ["| | check | found | required |", "|---|---|---|---|", *rows]
    return f"Gate: {head}\n\n" + "\n".join(table)


def _shown(check: Check) -> str:
    value = f"{check.value:.4f}" if isinstance(check.value, float) else str(check.value)
    return f"{value} ({check.detail})" if check.detail else value
