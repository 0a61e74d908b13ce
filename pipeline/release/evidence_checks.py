"""Checks that a candidate's evidence is whole, possible, of one piece, and about this candidate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.dataset.splits.table import data_sha256
from pipeline.errors import UnreadableError
from pipeline.evaluation.cases import distinct_cases
from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.metrics import differing_metrics, flat_numbers
from pipeline.evaluation.per_image import IDENTITY, PARTS
from pipeline.evaluation.scores import Counts, area_error, score
from pipeline.evaluation.visual_report import REPORT_PAGE, Report, ShownCase
from pipeline.files import sha256_file
from pipeline.params import GateParams
from pipeline.radiograph.formats.png import parse_png
from pipeline.radiograph.formats.stored import MAX_FILE
from pipeline.release.evidence import Evidence
from pipeline.release.verdict import Check, Prediction

SHARE = (0.0, 1.0)
LIMITS = {"contour_entropy": (0.0, math.inf)}
"""Lowest and highest value of a measure that is no share."""


def table_checks(evidence: Evidence) -> list[Check]:
    """That per_image.parquet has just the test rows, and only scores that its counts give.

    What is computed from the table means nothing unless these pass.
    """
    rows, test = evidence.per_image, evidence.test
    found, expected = Counter(_identities(rows)), Counter(_identities(test))
    odd = sorted({row[0] for row in (found - expected) | (expected - found)})
    impossible = _impossible(rows)
    return [
        Check(
            name="test_split_scored",
            value=f"{sum((found & expected).values())} of {sum(expected.values())}",
            bound="one row per test radiograph, class and group as in the split",
            passed=found == expected,
            detail=_some(odd),
        ),
        Check(
            name="scores_possible",
            value=_some(impossible) or "all",
            bound="every score follows from counts of pixels",
            passed=not impossible,
        ),
    ]


def _identities(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(rows[list(IDENTITY)].astype(str).itertuples(index=False, name=None))


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _impossible(rows: pd.DataFrame) -> list[str]:
    """The images whose counts no mask has, or whose measures cannot be."""
    given = rows.to_dict("records")
    return [str(row["image_id"]) for row in given if not _possible(row)]


def _possible(row: Mapping[Any, Any]) -> bool:
    both, *lungs = (
        Counts(*(int(row[f"{part}{name}"]) for name in Counts._fields)) for part in PARTS
    )
    halves = tuple(map(sum, zip(*lungs, strict=True)))
    if min(*both, *lungs[0], *lungs[1]) < 0 or sum(both) == 0:
        return False
    # A pixel beyond the midline is background of the one lung whatever it is of the other.
    if halves[:3] != both[:3] or any(sum(lung) != sum(both) for lung in lungs):
        return False
    parts = zip(PARTS, (both, *lungs), strict=True)
    return (
        all(_follows(row, part, counts) for part, counts in parts)
        and all(
            _within(row[name], *LIMITS.get(name, SHARE))
            for name in (*Confidence._fields, *(f"{part}nsd" for part in PARTS))
        )
        and (math.isnan(row["tta_dice"]) or _within(row["tta_dice"], *SHARE))
    )


def _follows(row: Mapping[Any, Any], part: str, counts: Counts) -> bool:
    """Whether the scores of a part are those of its counts, and its distances can be."""
    expected = score(counts).model_dump() | {"area_error": area_error(counts)}
    found = [row[f"{part}{name}"] for name in expected]
    # No two pixels of n lie further apart than n.
    longest = float(sum(counts))
    return bool(np.allclose(found, list(expected.values()), rtol=0, atol=1e-9)) and all(
        _within(row[f"{part}{name}"], 0.0, longest) for name in ("hd95", "assd")
    )


def _within(value: float, low: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9  # NaN is not


def consistency_checks(evidence: Evidence) -> Iterator[Check]:
    """That the metrics follow from the table, DVC recorded the files, and nothing leaked."""
    odd = [
        name
        for name, value in flat_numbers(evidence.metrics).items()
        if value is not None and not math.isfinite(value)
    ]
    yield Check(name="finite_metrics", value=_some(odd) or "all", bound="all", passed=not odd)
    differing = differing_metrics(evidence.metrics, evidence.per_image)
    yield Check(
        name="metrics_match_cases",
        value=_some(differing) or "all",
        bound="metrics.json follows from per_image.parquet",
        passed=not differing,
    )
    unrecorded = [
        Path(path).name
        for path, md5 in evidence.found_md5.items()
        if evidence.dvc_lock.get(path) != md5
    ]
    yield Check(
        name="files_as_recorded",
        value=_some(unrecorded) or "all",
        bound="the files that the run's dvc.lock names",
        passed=not unrecorded,
    )
    yield _not_trained_on(evidence.test, evidence.split[evidence.split["split"] != "test"])


def _not_trained_on(test: pd.DataFrame, others: pd.DataFrame) -> Check:
    """Whether no test radiograph, nor its patient or a near-duplicate, is in another split."""
    leaked = test["pixel_sha256"].isin(others["pixel_sha256"])
    leaked |= test["image_id"].isin(others["image_id"]) | test["group"].isin(others["group"])
    return Check(
        name="test_not_trained_on",
        value=f"{leaked.sum()} leaked",
        bound="no picture and no group in another split",
        passed=not leaked.any(),
        detail=_some(sorted(test["image_id"][leaked])),
    )


def prediction_check(prediction: Prediction | None) -> Check:
    """That the file which would be released gives what the table says."""
    if prediction is None:
        return Check(name="predicted_again", value="not done", bound="equal", passed=False)
    equal = prediction.radiographs - len(prediction.differing)
    return Check(
        name="predicted_again",
        value=f"{equal} of {prediction.radiographs}",
        bound="the released file gives the counts of the table",
        passed=prediction.radiographs > 0 and not prediction.differing,
        detail=_some(list(prediction.differing)),
    )


def report_checks(evidence: Evidence, bounds: GateParams) -> Iterator[Check]:
    """That there is a report, about this candidate, with intact pictures of its test split."""
    report = evidence.report
    if report is None:
        value = evidence.report_problem
        yield Check(name="report", value=value, bound="rendered", passed=False)
        return
    for name, expected in (
        ("model_sha256", evidence.model_sha256),
        ("test_split_sha256", evidence.test_split_sha256),
        ("data_sha256", data_sha256(evidence.split)),
        ("metrics_sha256", evidence.metrics_sha256),
        ("per_image_sha256", evidence.per_image_sha256),
    ):
        found = str(getattr(report, name))
        yield Check(
            name=f"report_{name}",
            value=found[:12],
            bound=f"== {expected[:12]}",
            passed=found == expected,
        )
    broken = _broken(evidence.report_folder, report.cases)
    yield Check(
        name="report_overlays",
        value=_some(broken) or "all",
        bound="each a picture of its own, unchanged and decodable",
        passed=not broken,
    )
    page = evidence.report_folder / REPORT_PAGE.name
    intact = page.is_file() and sha256_file(page) == report.index_sha256
    yield Check(
        name="report_page",
        value="intact" if intact else "missing or changed",
        bound="intact",
        passed=intact,
    )
    yield from _case_checks(report, evidence.per_image, bounds)


def _case_checks(report: Report, per_image: pd.DataFrame, bounds: GateParams) -> Iterable[Check]:
    dice = dict(zip(per_image["image_id"], per_image["dice"], strict=True))
    foreign = sorted(
        case.image_id
        for case in report.cases
        if not math.isclose(dice.get(case.image_id, math.nan), case.dice, abs_tol=1e-9)
    )
    yield Check(
        name="report_cases_scored",
        value=_some(foreign) or "all",
        bound="test radiographs with their Dice of the table",
        passed=not foreign and report.test_cases == len(per_image),
    )
    shown = {case.image_id for case in report.cases}
    required = min(bounds.min_report_cases, len(distinct_cases(per_image)))
    yield Check(
        name="report_cases",
        value=str(len(shown)),
        bound=f">= {required}",
        passed=len(shown) >= required,
    )
    worst = min(dice.values())
    yield Check(
        name="report_worst_case",
        value="shown" if any(dice.get(one) == worst for one in shown) else "not shown",
        bound=f"the case of Dice {worst:.4f} is shown",
        passed=any(dice.get(one) == worst for one in shown),
    )


def _broken(folder: Path, cases: Iterable[ShownCase]) -> list[str]:
    """The overlays that are missing, changed, no pictures, too large or shown twice."""
    seen: set[str] = set()
    broken = []
    for case in cases:
        if case.sha256 in seen or not _decodes(folder, case):
            broken.append(case.overlay)
        seen.add(case.sha256)
    return broken


def _decodes(folder: Path, case: ShownCase) -> bool:
    overlay = folder / case.overlay
    if not overlay.resolve().is_relative_to(folder.resolve()) or not overlay.is_file():
        return False
    if overlay.stat().st_size > MAX_FILE or sha256_file(overlay) != case.sha256:
        return False
    try:
        parse_png(overlay.read_bytes()).decode()
    except UnreadableError:
        return False
    return True
