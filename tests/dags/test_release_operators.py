from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GATE = {"stage": "gate", "status": "passed", "needs_approval": True, "summary": "| dice | 0.9 |"}
AT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
ANSWERED = {
    "chosen_options": ["Approve"],
    "params_input": {"comment": "clear fields"},
    "responded_at": AT,
    "responded_by_user": {"id": "1", "name": "Dr Roe"},
    "timedout": False,
}
ECHO = """echo "$LUNGSEG_ANSWER" > "$0.answer"
echo '{"stage": "approve", "status": "approved"}'"""


RUN: Any = {
    "dag_id": "retrain",
    "run_id": "r1",
    "task_id": "close",
    "max_tries": 12,
    "xcom_push": lambda key, value: None,
}


class Store(dict[str, Any]):
    """Airflow's store of a task: it outlives a try."""

    set = dict.__setitem__
    delete = dict.__delitem__


def approval(module: ModuleType, gate: dict[str, Any], store: Store | None = None) -> Any:
    """The operator as a new process of Airflow has it, and its context."""
    operator = module.ApproveOperator(task_id="approve")
    operator.body, operator.environment = gate.get("summary", ""), {}
    ti = SimpleNamespace(id="t1", xcom_pull={"gate": gate}.get, **RUN)
    store = Store() if store is None else store
    return operator, {"ti": ti, "task_instance": ti, "task_state_store": store}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, release_module: ModuleType) -> list[dict[str, Any]]:
    """What people were asked."""
    questions: list[dict[str, Any]] = []
    from airflow.providers.standard.operators import hitl

    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **options: questions.append(options))
    return questions


def ask(operator: Any, context: Any) -> Any:
    """Let the operator ask; returns for how long, and where Airflow goes on with the answer."""
    from airflow.sdk.exceptions import TaskAwaitingInput

    with pytest.raises(TaskAwaitingInput) as waiting:
        operator.execute(context)
    return waiting.value.timeout, waiting.value.method_name


def test_person_is_shown_the_summary_of_the_gate_and_may_comment(
    release_module: ModuleType, asked: list[dict[str, Any]]
) -> None:
    operator, context = approval(release_module, GATE)

    assert ask(operator, context) == (timedelta(hours=168), "execute_complete")

    [question] = asked
    assert question["body"] == "| dice | 0.9 |"
    assert question["options"] == ["Approve", "Reject"]
    assert question["defaults"] == ["Reject"]
    assert question["params"]["comment"]["value"] == ""
    assert "{{ run_id }}" in question["subject"]
    assert {"subject", "body", "environment"} <= set(operator.template_fields)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"needs_approval": False}, "needs no approval"),
        ({"status": "refused", "reason": "dice 0.8 is below 0.9"}, "dice 0.8 is below"),
    ],
)
def test_nobody_is_asked_when_the_gate_did_not_pass_or_needs_no_approval(
    release_module: ModuleType,
    asked: list[dict[str, Any]],
    changes: dict[str, Any],
    reason: str,
) -> None:
    operator, context = approval(release_module, {**GATE, **changes})

    with pytest.raises(Exception, match=reason) as caught:
        operator.execute(context)

    assert type(caught.value).__name__ == "AirflowSkipException"
    assert asked == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"decision": "approve", "by": "Dr Roe", "comment": "clear fields"}),
        (
            {"chosen_options": ["Reject"], "params_input": {}},
            {"decision": "reject", "by": "Dr Roe", "comment": ""},
        ),
        (
            {
                "chosen_options": ["Reject"],
                "params_input": {"comment": None},
                "responded_by_user": None,
                "timedout": True,
            },
            {"decision": "reject", "by": "nobody (no answer within 168 hours)", "comment": ""},
        ),
    ],
)
def test_answer_is_handed_to_the_child(
    release_module: ModuleType,
    lungseg: Any,
    tmp_path: Any,
    changes: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    lungseg(ECHO)
    operator, context = approval(release_module, GATE)

    report = operator.execute_complete(context, {**ANSWERED, **changes})

    assert report == {"stage": "approve", "status": "approved"}
    answer = json.loads((tmp_path / "lungseg.answer").read_text())
    assert answer == {**expected, "at": "2026-05-04T12:30:00+00:00"}


def test_answer_that_could_not_be_recorded_is_not_asked_for_again(
    release_module: ModuleType, lungseg: Any, tmp_path: Any, asked: list[dict[str, Any]]
) -> None:
    store = Store()
    lungseg("echo 'error: MLflow is silent'; exit 75")
    operator, context = approval(release_module, GATE, store)
    with pytest.raises(Exception, match="worth a retry"):
        operator.execute_complete(context, ANSWERED)

    lungseg(ECHO)
    operator, context = approval(release_module, GATE, store)
    operator.execute(context)

    assert asked == []
    assert json.loads((tmp_path / "lungseg.answer").read_text())["by"] == "Dr Roe"
    ask(*approval(release_module, GATE, store))  # cleared once it was recorded: asked anew


def test_answer_to_another_summary_does_not_count(
    release_module: ModuleType, lungseg: Any, asked: list[dict[str, Any]]
) -> None:
    store = Store()
    lungseg("exit 75")
    operator, context = approval(release_module, GATE, store)
    with pytest.raises(Exception, match="worth a retry"):
        operator.execute_complete(context, ANSWERED)

    ask(*approval(release_module, {**GATE, "summary": "| dice | 0.7 |"}, store))

    assert [question["body"] for question in asked] == ["| dice | 0.7 |"]


CLOSED = """echo '{"stage": "close", "status": "closed"}'"""
SILENT = "echo 'error: MLflow is silent'; exit 75"
VERDICT = {"stage": "promote", "status": "refused"}


@pytest.mark.parametrize(
    ("promoted", "state", "script", "exception"),
    [
        (VERDICT, "skipped", CLOSED, None),
        (VERDICT, "skipped", SILENT, "AirflowSkipException"),
        (None, "skipped", CLOSED, "AirflowFailException"),
        (None, "skipped", SILENT, "ServiceAwayError"),
        (VERDICT, "upstream_failed", CLOSED, "AirflowFailException"),  # cleared, repeated, failed
    ],
)
def test_end_of_a_run_fails_where_there_was_no_verdict(
    release_module: ModuleType,
    lungseg: Any,
    promoted: Any,
    state: str,
    script: str,
    exception: str | None,
) -> None:
    """A skip is a good end to Airflow, a ServiceAwayError is tried again."""
    lungseg(script)
    operator = release_module.CloseOperator(task_id="close")
    operator.environment = {}
    ti = SimpleNamespace(
        **RUN, xcom_pull=lambda task_ids, key="": {"promote": promoted}.get(task_ids)
    )
    ti.get_task_states = lambda **_: {"r1": {"promote": state, "close": "running"}}
    found = None

    try:
        operator.execute({"ti": ti, "task_state_store": Store()})
    except Exception as error:
        found = type(error).__name__

    assert found == exception


@pytest.mark.parametrize(
    ("best", "script", "exception"),
    [
        ("success", CLOSED, None),
        ("success", SILENT, "AirflowSkipException"),
        ("failed", CLOSED, "AirflowFailException"),
        ("skipped", CLOSED, "AirflowFailException"),  # marked failed by hand
        ("skipped", SILENT, "ServiceAwayError"),
    ],
)
def test_end_of_a_search_fails_where_no_best_trial_was_named(
    release_module: ModuleType, lungseg: Any, best: str, script: str, exception: str | None
) -> None:
    lungseg(script)
    operator = release_module.CloseSearchOperator(task_id="close")
    operator.environment = {}
    ti = SimpleNamespace(**RUN)
    ti.get_task_states = lambda **_: {"r1": {"trial_0": "failed", "best": best}}
    found = None

    try:
        operator.execute({"ti": ti})
    except Exception as error:
        found = type(error).__name__

    assert found == exception
