"""What a person decides about a candidate before it may be released."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import ReleaseError
from pipeline.evaluation.visual_report import REPORT_FILE, Report, ShownCase
from pipeline.git_command import without_login
from pipeline.release.comparing import COMPARISON
from pipeline.release.release_log import read_log
from pipeline.release.release_record import Approval
from pipeline.release.signing import Signer, Verifier, read_signed
from pipeline.release.verdict import Candidate, Verdict, as_markdown, score_rows
from pipeline.tracking.run_record import RunRecord, find_artifact

log = logging.getLogger(__name__)

APPROVAL = "gate/approval.json"
"""Where it is among the artifacts of the MLflow run."""

PICTURES = 6
"""Of the worst cases, in the text for the person who decides."""


def keep_decision(
    record: RunRecord, signer: Signer, verdict: Verdict | None, approval: Approval
) -> None:
    """Sign and keep a decision in the run record; a later one replaces it.

    Raises ReleaseError when there is no verdict to decide about, or the decision changes nothing:
    the candidate that is approved is refused, or the one that is rejected is released already.
    """
    if verdict is None:
        raise ReleaseError(
            f"run {record.run_id}: has no verdict of its gate that can be believed, so there is "
            "nothing to decide yet; let the gate run first",
        )
    if approval.decision == "approve" and not verdict.passed:
        raise ReleaseError(
            f"run {record.run_id}: the gate refused it ({verdict.reasons[0]}), so approving it "
            "changes nothing; see its verdict for what to do",
        )
    if approval.decision == "reject":
        releases = read_log(record.client, record.settings.model_name, signer)
        version = releases.version_of(verdict.candidate.model_sha256)
        if version:
            raise ReleaseError(
                f"run {record.run_id}: its model was released already, as version {version}, so "
                "rejecting it changes nothing; if it is the champion, go back with `lungseg "
                "rollback`",
            )
    record.client.log_dict(record.run_id, signer.sign(approval.model_dump()), APPROVAL)
    record.client.set_tag(record.run_id, "approval", f"{approval.decision} by {approval.by}")


def read_approval(record: RunRecord, verifier: Verifier, candidate: Candidate) -> Approval | None:
    """The decision about this very candidate and report; None when there is none to believe."""
    approval = read_signed(record, verifier, APPROVAL, Approval)
    about = (candidate.release_sha256, candidate.report_sha256)
    if approval and (approval.release_sha256, approval.report_sha256) != about:
        log.warning("run %s: its approval is about another candidate or report", record.run_id)
        return None
    return approval


def approval_text(record: RunRecord, verdict: Verdict) -> str:
    """What a person needs for the decision, as Markdown: scores, changes, worst cases, the report.

    The pictures are addresses of the MLflow server, which the reader's browser must reach.
    """
    return "\n".join(_lines(record, verdict))


def _lines(record: RunRecord, verdict: Verdict) -> Iterator[str]:
    uri = without_login(record.settings.tracking_uri)
    champion = verdict.champion_version
    yield f"The gate let this model pass{f', against version {champion}' if champion else ''}."
    yield ""
    yield from score_rows(verdict.metrics)
    yield ""
    yield from _changes(verdict, "champion", champion)
    if verdict.best_version != champion:
        yield from _changes(verdict, "best", verdict.best_version)
    if verdict.bounds.note:
        yield f"**Bounds {verdict.bounds.note}.**"
        yield ""
    yield (
        "The worst radiographs. Orange: lung that the model missed; dark blue: what it marked "
        "beyond the reference. White line: reference; dashed line: model."
    )
    yield ""
    for case in _worst(record):
        picture = f"{uri}/get-artifact?path=report/{case.overlay}&run_uuid={record.run_id}"
        name = as_markdown(case.image_id)
        yield f"![{name}, Dice {case.dice:.3f}]({picture})"
        yield ""
        yield f"{name}: Dice {case.dice:.3f}"
        yield ""
    yield f"[The whole report]({record.page('report/index.html')})"
    if COMPARISON in [file.path for file in record.client.list_artifacts(record.run_id, "gate")]:
        yield ""
        yield f"[What changed most against the champion]({record.page(COMPARISON)})"


def _changes(verdict: Verdict, name: str, version: str | None) -> Iterator[str]:
    """The change of Dice against a release, overall and by class."""
    prefix = f"dice_vs_{name}"
    checks = [check for check in verdict.checks if check.name.startswith(prefix)]
    if not checks:
        return
    called = "the champion" if name == "champion" else "the best release so far"
    yield f"Change of Dice against {called}, version {version}:"
    yield ""
    yield "| radiographs | change | required | how |"
    yield "|---|---|---|---|"
    for check in checks:
        which = as_markdown(check.name.removeprefix(prefix).removeprefix("_")) or "all"
        change = f"{check.value:+.4f}" if isinstance(check.value, float) else check.value
        how = check.detail.partition(", ")[2]
        yield f"| {which} | {change} | {check.bound} | {how} |"
    yield ""


def _worst(record: RunRecord) -> list[ShownCase]:
    with TemporaryDirectory() as temporary:
        where = f"report/{REPORT_FILE.name}"
        path = find_artifact(record.client, record.run_id, where, Path(temporary))
        cases = Report.read(path).cases if path else ()
    return sorted(cases, key=lambda case: case.dice)[:PICTURES]
