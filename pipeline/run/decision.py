"""A person's decision about a candidate, and the promotion that follows it."""

from __future__ import annotations

from typing import Literal

from pipeline.release.approval import keep_decision
from pipeline.release.gate import read_verdict
from pipeline.release.promotion import Promotion, run_promotion
from pipeline.release.release_record import Approval, now
from pipeline.release.signing import open_signer
from pipeline.run.task import forget_failure, open_workspace
from pipeline.run.task_report import TaskReport
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RUN_TAG, open_record
from pipeline.workspace.workspace import RunRequest

WORDS = {"approve": "approved", "reject": "rejected"}

Decision = Literal["approve", "reject"]


def decide(
    settings: Settings, run_id: str, decision: Decision, by: str, comment: str, at: str = ""
) -> TaskReport:
    """Keep what a person decided about the candidate of a run; `at` is by default now.

    Raises ReleaseError when there is nothing to decide about.
    """
    with connect(settings) as client:
        record, signer = open_record(settings, client, run_id), open_signer(settings)
        verdict = read_verdict(record, signer)
        candidate = verdict.candidate if verdict else None
        approval = Approval(
            decision=decision,
            by=by,
            at=at or now(),
            comment=comment,
            release_sha256=candidate.release_sha256 if candidate else "",
            report_sha256=candidate.report_sha256 if candidate else "",
        )
        keep_decision(record, signer, verdict, approval)
    reason = f"{by}: {comment}" if comment else by
    return TaskReport(stage="approve", status=WORDS[decision], reason=reason, run_id=record.run_id)


def promote_decided(settings: Settings, run_id: str) -> Promotion:
    """Do the promotion of a run that a person decided about."""
    with connect(settings) as client:
        own_id = open_record(settings, client, run_id).run.data.tags[RUN_TAG]
    workspace = open_workspace(settings, RunRequest(own_id))
    with connect(settings) as client:
        record = open_record(settings, client, own_id)
        outcome = run_promotion(record, workspace)
        forget_failure(record)
        return outcome
