"""Comparing two models that MLflow has: by command, and a candidate with the champion."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import ReleaseError
from pipeline.release.champion import score_champion, still_hold
from pipeline.release.changed_cases import FetchData
from pipeline.release.compared_models import (
    NamedRun,
    find_named_run,
    load_compared,
    version_run,
)
from pipeline.release.comparison_page import refuse_other_file, write_comparison
from pipeline.release.evidence import Evidence
from pipeline.release.paired_scores import ComparedModel, PairedScores, pair_scores
from pipeline.release.release_log import ReleaseLog
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.reproduce import borrow_data
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

COMPARISON = "gate/comparison.html"
"""Where the page is among the artifacts of the MLflow run."""


@dataclass(frozen=True)
class ComparisonResult:
    """What a person is told."""

    paired: PairedScores
    problems: tuple[str, ...]
    """Why the page lacks pictures, each in a sentence."""


def compare_models(
    settings: Settings, words: tuple[str, str], project: Path, page: Path
) -> ComparisonResult:
    """Compare what two words name, and write the page.

    The radiographs are those of the `project`. Raises ReleaseError when a word names nothing that
    has scores, both name the same, or no test radiograph is common to both.
    """
    refuse_other_file(page)
    with connect(settings) as client, TemporaryDirectory() as temporary:
        folder = Path(temporary)
        first, second = (find_named_run(settings, client, word) for word in words)
        if first.record.run_id == second.record.run_id:
            raise ReleaseError(
                f"{words[0]!r} and {words[1]!r}: are both run {first.record.run_id}, expected two "
                "runs; name another",
            )
        a, b = (
            load_compared(named, folder / letter) for letter, named in (("a", first), ("b", second))
        )
        paired = pair_scores(a, b)
        fetch = _fetcher(Workspace(project, "", Path(sys.executable)), folder)
        return ComparisonResult(paired, tuple(write_comparison(paired, fetch, page)))


def _fetcher(workspace: Workspace, folder: Path) -> FetchData:
    def fetch(paths: Sequence[str]) -> Path:
        return borrow_data(workspace, paths, folder)

    return fetch


def log_comparison(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    releases: ReleaseLog,
    folder: Path,
) -> None:
    """Log the page of the champion against the candidate, for the person who decides.

    Whatever goes wrong is a line in the log: the verdict is kept already, and stays.
    """
    version = releases.champion
    if version is None or version not in releases.versions:
        return
    if releases.version_of(evidence.model_sha256) == version:
        return  # the same network
    try:
        champion = _champion(record, workspace, evidence, releases, folder)
        own = ComparedModel(
            name="this candidate",
            detail=NamedRun(record).detail,
            per_image=evidence.per_image,
            split=evidence.split,
            segmenter=evidence.model.segmenter(),
            threshold=evidence.evaluate.threshold,
        )
        page = folder / Path(COMPARISON).name
        fetch = _fetcher(workspace, folder / "comparison")
        for problem in write_comparison(pair_scores(champion, own), fetch, page):
            log.warning("comparison with version %s: %s", version, problem)
        record.log_artifact(page, str(Path(COMPARISON).parent))
    except Exception as error:  # it only helps a person to decide
        reason = " ".join(str(error).split())[:300]
        log.warning("no comparison with version %s (%s)", version, reason or type(error).__name__)


def _champion(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    releases: ReleaseLog,
    folder: Path,
) -> ComparedModel:
    """The champion with its recorded scores, or those that the gate predicted anew."""
    named = version_run(record.settings, record.client, releases, str(releases.champion))
    champion = load_compared(named, folder / "comparison")
    split = champion.split
    if split is not None and still_hold(champion.per_image, split, evidence):
        return champion
    scored = score_champion(record, workspace, evidence, releases, folder)
    if scored is None:
        return champion
    if split is not None:  # the scores are of the candidate's masks
        split = split.drop(columns="mask_sha256", errors="ignore")
    return replace(champion, per_image=scored.per_image, split=split)
