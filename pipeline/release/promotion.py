"""Release of a candidate that passed: judged again, recorded in the log, and made the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pipeline.conventions import STANDARD
from pipeline.errors import OvertakenError
from pipeline.files import sha256_file
from pipeline.release.approval import read_approval
from pipeline.release.bounds import RecordedBounds
from pipeline.release.evidence import Evidence
from pipeline.release.gate import judge_run
from pipeline.release.log_writing import append, release_lock, settle
from pipeline.release.model_card import model_card
from pipeline.release.release_log import LOGGED_TAG, LogEntry, ReleaseLog
from pipeline.release.release_record import Approval, ReleaseFacts
from pipeline.release.signing import Signer, open_signer
from pipeline.release.verdict import Verdict
from pipeline.tracking.run_record import REVISION_TAG, RUN_TAG, RunRecord
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

SHOWN = ("accuracy", "dice", "worst_class_dice")
TRIES = 3
"""Of a promotion that another one overtakes."""

Status = Literal["released", "unchanged", "refused", "needs approval"]


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion."""

    status: Status
    reason: str
    version: str | None = None
    """Of the registered model: the new one, or the one that is this very model."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    event: Mapping[str, Any] | None = None
    """The newest entry of the log of releases, to be announced once; None when there is none."""


def run_promotion(record: RunRecord, workspace: Workspace, allowed_by: str = "") -> Promotion:
    """Release the run's candidate if it passes now; return the outcome, which the run keeps.

    What another promotion left unfinished is finished or undone first. All evidence is judged
    again, against the champion of this moment. Only "released" changes the champion.
    """
    settings, signer = record.settings, open_signer(record.settings)
    with release_lock(settings):
        for tries in range(1, TRIES + 1):
            releases = settle(record.client, settings.model_name, signer)
            try:
                outcome, releases = _promote(record, workspace, releases, signer, allowed_by)
                break
            except OvertakenError:
                if tries == TRIES:
                    raise
                log.info("another promotion came first; judging against its champion")
    return _close(record, outcome, releases)


def _promote(
    record: RunRecord,
    workspace: Workspace,
    releases: ReleaseLog,
    signer: Signer,
    allowed_by: str,
) -> tuple[Promotion, ReleaseLog]:
    own = _entry_of(releases, record.run_id)
    if own and not releases.problems:
        return _released_before(releases, own), releases
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        evidence, verdict = judge_run(record, workspace, releases, signer, allowed_by, folder)
        if not verdict.passed:
            failed = [check.name for check in verdict.checks if not check.passed]
            return Promotion("refused", f"failed {', '.join(failed)}"), releases
        if verdict.released_as:
            reason = _same(releases, verdict.released_as)
            return Promotion("unchanged", reason, verdict.released_as), releases
        approval = read_approval(record, signer, verdict.candidate)
        if approval and approval.decision == "reject":
            said = f": {approval.comment}" if approval.comment else ""
            return Promotion("refused", f"rejected by {approval.by}{said}"), releases
        if verdict.bounds.used.mode == "dry_run":
            reason = "dry run: it would be released (gate.mode)"
            return Promotion("unchanged", reason), releases
        if approval is None and verdict.bounds.used.approval == "required":
            where = " --local" if record.settings.local else ""
            reason = f"waits for a person: `lungseg approve {record.run_id}{where}`, or reject"
            return Promotion("needs approval", reason), releases
        return _release(record, releases, signer, evidence, verdict, approval)


def _entry_of(releases: ReleaseLog, run_id: str) -> LogEntry | None:
    """The entry that this run wrote, before it was killed or its task was repeated."""
    found = [one for one in releases.entries if one.action == "promote" and one.run_id == run_id]
    return found[-1] if found else None


def _released_before(releases: ReleaseLog, own: LogEntry) -> Promotion:
    released = _released(own.version, own.record.facts if own.record else None)
    if own == releases.head:
        return released
    reason = (
        f"version {own.version} was released by this run, and version {releases.champion} since"
    )
    return replace(released, status="unchanged", reason=reason)


def _released(version: str, facts: ReleaseFacts | None) -> Promotion:
    return Promotion("released", f"version {version}", version, _shown(facts))


def _shown(facts: ReleaseFacts | None) -> dict[str, float]:
    metrics = facts.metrics if facts else {}
    return {name: metrics[name].value for name in SHOWN if name in metrics}


def _same(releases: ReleaseLog, version: str) -> str:
    if version == releases.champion:
        return f"version {version} is this very model"
    if version not in releases.versions:
        return f"version {version} was this very model, and was deleted"
    return (
        f"version {version} is this very model, and is not the champion; "
        f"`lungseg rollback --to {version}` makes it that again"
    )


def _release(
    record: RunRecord,
    releases: ReleaseLog,
    signer: Signer,
    evidence: Evidence,
    verdict: Verdict,
    approval: Approval | None,
) -> tuple[Promotion, ReleaseLog]:
    client, name = record.client, releases.name
    facts = _facts(record, evidence, verdict, approval)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(
        name,
        source=f"models:/{verdict.candidate.model_id}",
        run_id=record.run_id,
        tags={LOGGED_TAG: record.run_id, **facts.tags},
        description=model_card(facts, evidence, name),
        model_id=verdict.candidate.model_id,
    )
    number = str(version.version)
    entry = releases.next_record("promote", number, facts)
    appended = append(record.settings, client, signer, releases, entry)
    return _released(number, facts), appended


def _facts(
    record: RunRecord, evidence: Evidence, verdict: Verdict, approval: Approval | None
) -> ReleaseFacts:
    tags, inputs = record.run.data.tags, record.run.inputs.dataset_inputs
    folder = evidence.model.folder
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return ReleaseFacts(
        run_id=record.run_id,
        run=tags[RUN_TAG],
        revision=tags[REVISION_TAG],
        data_md5=inputs[0].dataset.digest if inputs else "",
        manifest_md5=evidence.manifest_md5,
        files={file.relative_to(folder).as_posix(): sha256_file(file) for file in files},
        **verdict.candidate.hashes,
        threshold=evidence.evaluate.threshold,
        conventions=evidence.model.conventions,
        metrics=verdict.metrics,
        bounds=RecordedBounds.model_validate(verdict.bounds.model_dump()),
        checks=verdict.checks,
        approval=approval,
    )


def _close(record: RunRecord, outcome: Promotion, releases: ReleaseLog) -> Promotion:
    record.client.set_tag(record.run_id, "release", outcome.status)
    record.client.set_tag(record.run_id, "release.reason", outcome.reason)
    if outcome.status == "needs approval":
        record.client.update_run(record.run_id, status="SCHEDULED")
    else:
        record.client.set_terminated(record.run_id, "FINISHED")
    return replace(outcome, event=_event(releases.head) if releases.head else None)


def _event(entry: LogEntry) -> dict[str, Any]:
    facts = entry.record.facts if entry.record else None
    return {
        "record": entry.number,
        "version": entry.version,
        "run_id": entry.run_id,
        "conventions": list(facts.conventions) if facts else [STANDARD],
        "metrics": _shown(facts),
    }
