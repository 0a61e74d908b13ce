"""A person's decision: by command, bound to the candidate, signed, and kept in the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.errors import ReleaseError
from pipeline.release.approval import APPROVAL, approval_text
from pipeline.release.gate import run_gate
from pipeline.release.history import list_releases
from pipeline.release.promotion import run_promotion
from pipeline.release.release_log import read_log
from pipeline.release.signing import open_signer
from pipeline.run.decision import decide
from pipeline.run.task_report import GateReport, PromotionReport
from pipeline.settings import Settings
from tests.release.conftest import deploy
from tests.release.runs import CLASSES, Run, make_run, release


@pytest.fixture
def waiting(settings: Settings, run: Run) -> Run:
    """A run whose candidate passed and waits for a person."""
    deploy(Path(settings.repo), approval="required")
    assert release(run).status == "needs approval"
    return run


def test_without_a_decision_nothing_is_released(
    settings: Settings, client: MlflowClient, waiting: Run
) -> None:
    outcome = run_promotion(*waiting)

    run = client.get_run(waiting[0].run_id)
    assert outcome.status == "needs approval"
    command = f"lungseg approve {run.info.run_id} --local"
    assert outcome.reason == f"waits for a person: `{command}`, or reject"
    assert PromotionReport.of(outcome).exit_code == 3
    assert list_releases(settings, client)[0] == []
    assert run.info.status == "SCHEDULED"


def test_an_approval_releases_and_enters_the_record(
    settings: Settings, client: MlflowClient, waiting: Run
) -> None:
    report = decide(settings, waiting[0].run_id, "approve", "Dr Ada", "looked at the worst nine")

    outcome = run_promotion(*waiting)

    facts = read_log(client, settings.model_name, open_signer(settings)).facts("1")
    assert (report.status, report.reason) == ("approved", "Dr Ada: looked at the worst nine")
    assert outcome.status == "released"
    assert facts
    assert facts.approval
    assert facts.approval.by == "Dr Ada"
    assert facts.approval.comment == "looked at the worst nine"
    assert facts.approval.at.endswith("Z")
    versions, moves, _ = list_releases(settings, client)
    assert versions[0].tags["approved_by"] == "Dr Ada"
    assert moves[0].by == "Dr Ada"
    assert "approved by: Dr Ada" in client.get_model_version(settings.model_name, "1").description


def test_a_rejection_refuses_with_its_reason(
    settings: Settings, client: MlflowClient, waiting: Run
) -> None:
    decide(settings, waiting[0].run_id, "reject", "Dr Ada", "misses the apices")

    outcome = run_promotion(*waiting)

    tags = client.get_run(waiting[0].run_id).data.tags
    assert (outcome.status, outcome.reason) == ("refused", "rejected by Dr Ada: misses the apices")
    assert PromotionReport.of(outcome).exit_code == 2
    assert tags["approval"] == "reject by Dr Ada"
    assert list_releases(settings, client)[0] == []


def test_a_decision_counts_also_where_none_is_required(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    run_gate(*run)
    decide(settings, run[0].run_id, "reject", "Dr Ada", "misses the apices")

    rejected = run_promotion(*run)

    assert rejected.status == "refused"
    assert list_releases(settings, client)[0] == []

    decide(settings, run[0].run_id, "approve", "Dr Ada", "looked again")

    assert run_promotion(*run).status == "released"
    assert list_releases(settings, client)[0][0].tags["approved_by"] == "Dr Ada"


def test_a_rejected_candidate_is_refused_in_a_dry_run_too(settings: Settings, run: Run) -> None:
    deploy(Path(settings.repo), mode="dry_run")
    run_gate(*run)
    decide(settings, run[0].run_id, "reject", "Dr Ada", "misses the apices")

    assert run_promotion(*run).status == "refused"


def test_a_later_decision_counts(settings: Settings, waiting: Run) -> None:
    decide(settings, waiting[0].run_id, "reject", "Dr Ada", "not yet")
    decide(settings, waiting[0].run_id, "approve", "Dr Ada", "now")

    assert run_promotion(*waiting).status == "released"


def forged(document: dict[str, Any]) -> str:
    return json.dumps({**document, "decision": "approve", "by": "nobody"})


def unsigned(document: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in document.items() if key != "signature"})


@pytest.mark.parametrize(
    "write", [forged, unsigned, lambda _: "{", lambda _: "[]", lambda _: '{"by": 1}']
)
def test_an_approval_that_cannot_be_believed_does_not_count(
    settings: Settings, client: MlflowClient, waiting: Run, tmp_path: Path, write: Any
) -> None:
    decide(settings, waiting[0].run_id, "approve", "Dr Ada", "")
    path = client.download_artifacts(waiting[0].run_id, APPROVAL, str(tmp_path))
    client.log_text(waiting[0].run_id, write(json.loads(Path(path).read_text())), APPROVAL)

    assert run_promotion(*waiting).status == "needs approval"


def test_an_approval_of_another_candidate_does_not_count(
    settings: Settings, client: MlflowClient, waiting: Run, tmp_path: Path
) -> None:
    decide(settings, waiting[0].run_id, "approve", "Dr Ada", "")
    other = make_run(settings, client, tmp_path / "other", None, b"other")
    assert release(other).status == "needs approval"
    path = client.download_artifacts(waiting[0].run_id, APPROVAL, str(tmp_path))
    client.log_artifact(other[0].run_id, path, "gate")

    assert run_promotion(*other).status == "needs approval"


def test_a_refused_candidate_cannot_be_approved(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    deploy(Path(settings.repo), approval="required")
    poor = make_run(settings, client, tmp_path / "poor", dict.fromkeys(CLASSES, [0.7] * 8), b"p")
    assert release(poor).status == "refused"

    with pytest.raises(ReleaseError, match=r"the gate refused it .*so approving it "):
        decide(settings, poor[0].run_id, "approve", "Dr Ada", "")


def test_a_candidate_that_is_released_already_cannot_be_rejected(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    again = make_run(settings, client, tmp_path / "again")
    run_gate(*again)

    for record, _ in (run, again):
        with pytest.raises(
            ReleaseError, match=r"released already, as version 1, so .* `lungseg ro"
        ):
            decide(settings, record.run_id, "reject", "Dr Ada", "misses the apices")
        assert "approval" not in client.get_run(record.run_id).data.tags


def test_a_run_that_no_gate_judged_cannot_be_decided_about(settings: Settings, run: Run) -> None:
    with pytest.raises(ReleaseError, match="has no verdict of its gate that can be believed"):
        decide(settings, run[0].run_id, "approve", "Dr Ada", "")


def test_nobody_is_asked_about_a_model_that_is_released_already(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    deploy(Path(settings.repo), approval="required")
    again = make_run(settings, client, tmp_path / "again")

    report = GateReport.of(run_gate(*again), "text")

    assert not report.needs_approval
    assert run_promotion(*again).status == "unchanged"


def test_the_person_is_shown_scores_changes_and_the_worst_cases(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release(run)
    deploy(Path(settings.repo), approval="required")
    better = {"COVID": [0.95, *[0.99] * 7], "Normal": [0.98] * 8}
    record, workspace = make_run(settings, client, tmp_path / "second", better, b"second")
    verdict = run_gate(record, workspace)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")
    text = approval_text(record, verdict)

    assert text.startswith("The gate let this model pass, against version 1.")
    assert "| dice | 0.98" in text
    assert "Change of Dice against the champion, version 1:" in text
    assert "\n| COVID | +0.01" in text
    assert "best release" not in text  # it is the champion
    assert (
        f"(https://mlflow.example/get-artifact?path=report/overlays/COVID-0.png&run_uuid={record.run_id})"
        in text
    )
    assert text.index("COVID/0: Dice 0.95") < text.index("Normal/")
    assert text.count("![") == 6
    assert f"[The whole report]({record.page('report/index.html')})" in text
