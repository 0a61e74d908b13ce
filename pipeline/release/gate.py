"""The gate, which says whether a candidate may be released.

It acts on what MLflow recorded of the run, believes nothing that it can check, and compares with
the releases so far on the same test radiographs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.conventions import STANDARD
from pipeline.evaluation.per_image import FAILURE
from pipeline.evaluation.scores import SCORES
from pipeline.params import GateParams
from pipeline.params_file import check_params, parse_yaml
from pipeline.release.bounds import Bounds, find_bounds, withdrawn_answers
from pipeline.release.champion import Reference, score_best, score_champion
from pipeline.release.comparing import log_comparison
from pipeline.release.evidence import Evidence, load_evidence
from pipeline.release.evidence_checks import (
    consistency_checks,
    prediction_check,
    report_checks,
    table_checks,
)
from pipeline.release.non_inferiority import non_inferiority_checks
from pipeline.release.prediction import predict_again
from pipeline.release.release_log import ChampionState, ReleaseLog, champion_state, read_log
from pipeline.release.scored_conventions import learned_conventions
from pipeline.release.signing import Signer, Verifier, open_signer, read_signed
from pipeline.release.verdict import VERDICT, Check, Estimate, Prediction, Verdict
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.revisions import deployed_file
from pipeline.workspace.workspace import Workspace

ESTIMATED = (*SCORES, "failures", "hd95", "assd", "nsd", "brier", "ece")
"""What of the metrics the verdict keeps, with intervals."""


@dataclass(frozen=True)
class References:
    """What a candidate is measured against."""

    log: ReleaseLog
    state: ChampionState
    champion: Reference | None = None
    best: Reference | None = None


def run_gate(record: RunRecord, workspace: Workspace, allowed_by: str = "") -> Verdict:
    """Judge the run's candidate and keep the verdict in its run record.

    Beside it goes a page of what changes against the champion.
    `allowed_by` answers for bounds that the run lowers; empty: nobody does.
    """
    signer = open_signer(record.settings)
    releases = read_log(record.client, record.settings.model_name, signer)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        evidence, verdict = judge_run(record, workspace, releases, signer, allowed_by, folder)
        if verdict.metrics:
            log_comparison(record, workspace, evidence, releases, folder)
    return verdict


def judge_run(
    record: RunRecord,
    workspace: Workspace,
    releases: ReleaseLog,
    signer: Signer,
    allowed_by: str,
    folder: Path,
) -> tuple[Evidence, Verdict]:
    """Judge a run's candidate by all of its evidence, downloaded to `folder`; keep the verdict.

    Of a verdict before only the prediction is used again, and who answers for lowered bounds: it
    must be signed, and of the very same files. Where other bounds are lowered than it has, for
    the champion or the deployed project changed since, nobody has answered for them yet.
    """
    evidence = load_evidence(record, folder)
    before = read_verdict(record, signer)
    before = before if before and before.candidate == evidence.candidate else None
    deployed = deployed_bounds(record.settings, workspace)
    withdrawn = _withdrawn(releases, evidence)
    bounds = find_bounds(*deployed, evidence.asked, withdrawn, "")
    if before is None or before.bounds.lowered == bounds.lowered:
        named = allowed_by or (before.bounds.allowed_by if before else "")
        bounds = find_bounds(*deployed, evidence.asked, withdrawn, named)
    sound = all(check.passed for check in table_checks(evidence))
    references = References(releases, champion_state(releases))
    prediction = before.prediction if before else None
    if sound and not releases.problems and references.state.kind != "moved":
        champion = score_champion(record, workspace, evidence, releases, folder)
        best = score_best(record, workspace, evidence, releases, folder)
        references = References(releases, references.state, champion, best)
    if sound and prediction is None:
        prediction = predict_again(evidence, workspace, folder)
    verdict = Verdict(
        checks=tuple(judge(evidence, bounds, references, prediction)),
        candidate=evidence.candidate,
        bounds=bounds,
        champion_version=releases.champion,
        best_version=references.best.version if references.best else None,
        released_as=releases.version_of(evidence.model_sha256),
        prediction=prediction,
        metrics=_estimates(evidence) if sound else {},
    )
    _keep(record, signer, verdict)
    return evidence, verdict


def _withdrawn(releases: ReleaseLog, evidence: Evidence) -> list[str]:
    """What consumers of the champion would miss; nothing of a network that is a version already."""
    if releases.champion is None or releases.version_of(evidence.model_sha256):
        return []
    champion = releases.facts(releases.champion)
    known = champion.conventions if champion else (STANDARD,)
    return withdrawn_answers(known, evidence.model.conventions)


def deployed_bounds(settings: Settings, workspace: Workspace) -> tuple[str, GateParams]:
    """The commit that the deployed project is at, and the section `gate` of its params.yaml.

    As committed, so that what lies in the folder and is no commit bounds nothing. Raises
    WorkspaceError when there is no such file, ParamsError when it is not valid.
    """
    revision, text = deployed_file(settings.repo, workspace.folder, "params.yaml")
    where = Path(f"params.yaml of the deployed project at {revision[:10]}")
    return revision, check_params(parse_yaml(text, where), where).gate


def read_verdict(record: RunRecord, verifier: Verifier) -> Verdict | None:
    """The verdict in the run record; None when there is none that can be believed."""
    return read_signed(record, verifier, VERDICT, Verdict)


def _keep(record: RunRecord, signer: Signer, verdict: Verdict) -> None:
    record.client.log_dict(record.run_id, signer.sign(verdict.content), VERDICT)
    for key, value in {
        "gate": verdict.status,
        "gate.reasons": "; ".join(verdict.reasons)[:5000],
        "gate.bounds": verdict.bounds.note,
        "mlflow.note.content": verdict.markdown,
    }.items():
        record.client.set_tag(record.run_id, key, value)


def _estimates(evidence: Evidence) -> dict[str, Estimate]:
    metrics = evidence.metrics
    means = {
        name: Estimate(value=getattr(metrics, name), interval=metrics.intervals[name])
        for name in ESTIMATED
    }
    worst = Estimate(value=metrics.worst_class_dice, interval=metrics.worst_class_interval)
    return {**means, "worst_class_dice": worst}


def judge(
    evidence: Evidence,
    bounds: Bounds,
    references: References,
    prediction: Prediction | None,
) -> list[Check]:
    """Return every check of the gate, in the order a person reads them.

    Where the table of scores is not sound only that is said, for nothing else would mean anything.
    """
    tables = table_checks(evidence)
    if not all(check.passed for check in tables):
        return tables
    used = bounds.used
    return [
        *_floors(evidence, used),
        *_against(references, evidence, used),
        *tables,
        *consistency_checks(evidence),
        prediction_check(prediction),
        *report_checks(evidence, used),
        *_bounds_check(bounds),
    ]


def _floors(evidence: Evidence, bounds: GateParams) -> Iterator[Check]:
    metrics = evidence.metrics
    for name, value, bound in (
        ("accuracy", metrics.accuracy, bounds.min_accuracy),
        ("dice", metrics.dice, bounds.min_dice),
        ("worst_class_dice", metrics.worst_class_dice, bounds.min_worst_class_dice),
    ):
        yield Check(name=name, value=value, bound=f">= {bound}", passed=value >= bound)
    # Of those that it knows: of another one it was asked for what it does not answer.
    several = metrics.conventions
    known = [name for name in several if name in learned_conventions(evidence.split)]
    if known:
        worst = min(known, key=lambda name: several[name].dice)
        value = several[worst].dice
        yield Check(
            name="worst_convention_dice",
            value=value,
            bound=f">= {bounds.min_worst_class_dice}",
            passed=value >= bounds.min_worst_class_dice,
            detail=worst,
        )
    failed = evidence.per_image["dice"] < FAILURE
    share = float(failed.mean())
    yield Check(
        name="failures",
        value=share,
        bound=f"<= {bounds.max_failures}",
        passed=share <= bounds.max_failures,
        detail=f"{failed.sum()} of {len(failed)} have a Dice below {FAILURE}",
    )
    for name, value, bound in (
        ("hd95", metrics.hd95, bounds.max_hd95),
        ("ece", metrics.ece, bounds.max_ece),
    ):
        yield Check(name=name, value=value, bound=f"<= {bound}", passed=value <= bound)
    tested = evidence.test["class_name"].value_counts()
    cases = {name: int(tested.get(name, 0)) for name in sorted(set(evidence.split["class_name"]))}
    fewest = min(cases, key=lambda name: cases[name])
    yield Check(
        name="test_cases_per_class",
        value=str(cases[fewest]),
        bound=f">= {bounds.min_test_cases_per_class}",
        passed=cases[fewest] >= max(1, bounds.min_test_cases_per_class),
        detail=fewest,
    )


def _against(references: References, evidence: Evidence, bounds: GateParams) -> Iterator[Check]:
    problems, state = references.log.problems, references.state
    if problems:
        yield Check(
            name="release_log",
            value=problems[0],
            bound="intact; see `lungseg releases verify`",
            passed=False,
        )
        return
    yield Check(
        name="champion",
        value=state.sentence,
        bound="as the log of releases says",
        passed=state.kind != "moved",
    )
    scored = evidence.per_image
    if references.champion:
        yield from non_inferiority_checks(
            "champion", references.champion, scored, bounds.max_drop, "resampled"
        )
    if references.best:
        yield from non_inferiority_checks(
            "best", references.best, scored, bounds.max_drift, "point"
        )


def _bounds_check(bounds: Bounds) -> Iterator[Check]:
    if bounds.lowered:
        yield Check(
            name="bounds",
            value=f"lowered: {', '.join(bounds.lowered)}",
            bound="those of the deployed project and the champion, or --allow-lowered NAME",
            passed=bool(bounds.allowed_by),
            detail=f"allowed by {bounds.allowed_by}" if bounds.allowed_by else "allowed by nobody",
        )
