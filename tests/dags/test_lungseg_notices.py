from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.dags.test_release_operators import RUN, Store
from tests.dags.web_hook import connect, web_hook

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise's imports warn

PAGE = "https://airflow.example/dags/retrain/runs/r1"
RELEASED = {"stage": "promote", "status": "released", "version": "7", "metrics": {"dice": 0.97}}
REFUSED = {"stage": "promote", "status": "refused", "reason": "dice of COVID-12 is below 0.9"}
CHECKS = [
    {"name": "dice", "value": 0.80125, "bound": ">= 0.9", "passed": False, "detail": "COVID-12"},
    {"name": "same_pixels", "value": "differ: COVID-12", "bound": "none", "passed": False},
    {"name": "accuracy", "value": 0.99, "bound": ">= 0.95", "passed": True},
]


@pytest.fixture
def notices(operator_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    import lungseg_notices

    monkeypatch.setenv("LUNGSEG_AIRFLOW_URL", "https://airflow.example/")
    return lungseg_notices


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What arrives at the web hook that the connection `lungseg_notify` names."""
    with web_hook() as (path, messages):
        connect(monkeypatch, path)
        yield messages


def context_of(**xcoms: Any) -> dict[str, Any]:
    """The context of `close` in a run whose tasks left these XComs, `problem` of a failed one."""

    def pull(task_ids: str, key: str = "return_value", map_indexes: int | None = None) -> Any:
        name = task_ids if map_indexes is None else f"{task_ids}[{map_indexes}]"
        return xcoms.get(f"{name}_problem" if key == "problem" else name)

    return {"ti": SimpleNamespace(**RUN, xcom_pull=pull), "task_state_store": Store()}


@pytest.mark.parametrize(
    ("states", "xcoms", "kind", "title", "lines"),
    [
        (
            {"train": "failed", "gate": "upstream_failed"},
            {"train_problem": "a person must change something; the log says what"},
            *("failure", "a run failed"),
            ["train: a person must change something; the log says what"],
        ),
        (
            {"train": "failed"},
            {},
            *("failure", "a run failed", ["train: its process was killed, or never began"]),
        ),
        (
            {"validate_parts_0": "failed", "validate_parts_1": "success", "train_2": "failed"},
            {"validate_parts[0]_problem": "its process died", "train_2_problem": "no answer"},
            *(
                "failure",
                "a run failed",
                ["train_2: no answer", "validate_parts_0: its process died"],
            ),
        ),
        ({"train": "skipped"}, {}, "failure", "a run was stopped before its verdict", []),
        (
            {},
            {"promote": RELEASED},
            *("success", "a model was released", ["version 7, dice 0.9700"]),
        ),
        (
            {},
            {"promote": REFUSED, "gate": {"checks": CHECKS}},
            *("warning", "a model was refused"),
            ["dice 0.8013, required >= 0.9", "same_pixels differ: …, required none"],
        ),
        (
            {},
            {"promote": REFUSED, "approve": {"status": "rejected", "reason": "like Mrs Roe"}},
            *("warning", "a model was refused"),
            ["a person rejected it; the run record says who and why"],
        ),
        (
            {},
            {"promote": REFUSED, "gate": {"status": "refused"}},
            *("warning", "a model was refused", ["dice of … is below 0.9"]),
        ),
        (
            {},
            {"promote": {"status": "needs approval"}},
            *("warning", "a model needs approval, and nobody was asked", []),
        ),
    ],
)
def test_end_of_a_run_is_told_with_its_reason_and_its_page(
    notices: Any,
    received: list[dict[str, Any]],
    states: dict[str, str],
    xcoms: dict[str, Any],
    kind: str,
    title: str,
    lines: list[str],
) -> None:
    notices.tell_end(context_of(**xcoms), states)

    [message] = received
    assert (message["type"], message["title"]) == (kind, f"lungseg: {title}")
    assert message["message"].splitlines() == ["run r1", *lines, PAGE]


def test_nothing_is_told_of_a_run_that_changed_nothing(
    notices: Any, received: list[dict[str, Any]]
) -> None:
    notices.tell_end(context_of(promote={"status": "unchanged"}), {"train": "success"})

    assert received == []


def test_person_who_is_waited_for_and_a_missed_deadline_are_told(
    notices: Any, received: list[dict[str, Any]]
) -> None:
    notices.tell_waiting(context_of())
    run = {"dag_id": "retrain", "dag_run_id": "r1"}
    notices.deadline_missed(1.5, {"dag_run": run})

    assert [message["message"].splitlines()[-1] for message in received] == [
        f"{PAGE}/tasks/close/required_actions",
        PAGE,
    ]
    assert "has not ended after 1.5 hours" in received[1]["message"]


def test_end_is_told_once_though_the_task_is_tried_again_and_anew_when_it_is_cleared(
    notices: Any, release_module: ModuleType, received: list[dict[str, Any]]
) -> None:
    operator = release_module.CloseOperator(task_id="close")
    context = context_of(promote=RELEASED)
    for _ in range(2):
        operator.tell_once(context, {"promote": "success", "close": "failed"})
    assert len(received) == 1

    context["ti"].max_tries += 13
    operator.tell_once(context, {"promote": "success"})

    assert len(received) == 2


def test_report_of_another_version_fails_nothing(notices: Any) -> None:
    notices.tell_end(context_of(promote={"status": "released"}), {})


@pytest.mark.parametrize("path", ["json://127.0.0.1:1", "nonsense", ""])
def test_message_that_cannot_be_sent_fails_nothing(
    notices: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    connect(monkeypatch, path)

    notices.send("a run failed", "run r1", "failure")


def test_without_a_connection_nobody_is_told(
    notices: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    def missing(name: str) -> None:
        raise AirflowNotFoundException(f"The conn_id `{name}` isn't defined")

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(missing))

    with caplog.at_level("INFO"):
        notices.send("a run failed", "run r1", "failure")

    assert "nobody is told that a run failed: there is no connection" in caplog.text


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("sheet.xlsx: COVID-12: sex is 'F', another row says 'M'", "…: … sex is …, another"),
        ("error: 4711: age is missing", "… age is missing"),
        ("Normal/Doe Jane: Normal/Roe, Jane Doe.png, 3 more", "…: …,…, 3 more"),
        ("all but Doe Jane.dcm (2 of 3)", "… (2 of 3)"),
        ("MLflow at http://127.0.0.1:5000 is silent", "MLflow at http://127.0.0.1:5000 is silent"),
        ("not in https://ci:to@ken@git.example/x; name", "not in https://git.example/x; name"),
        ("dice 0.80 is below 0.90 (12%)", "dice 0.80 is below 0.90 (12%)"),
    ],
)
def test_reason_is_told_without_names(notices: Any, reason: str, told: str) -> None:
    assert notices.without_names(reason).startswith(told)
