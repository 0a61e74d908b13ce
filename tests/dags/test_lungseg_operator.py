from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from pipeline.services.daemon import wait

REPORT = '{"stage": "train", "status": "ran", "seconds": 1.5, "run_id": "abc"}'
EVENT = {"record": 7, "version": "3", "run_id": "abc", "metrics": {"dice": 0.95}}
SAME = {"stage": "promote", "status": "unchanged", "reason": "version 3 is this very model"}
REFUSED = {"stage": "promote", "status": "refused", "reason": "the gate refused it"}


class Pushed(SimpleNamespace):
    """The part of a task's context that the operator uses."""

    def __init__(self) -> None:
        super().__init__(values={})

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value


def execute(module: ModuleType, task_id: str = "train", **options: Any) -> Any:
    operator = module.LungsegOperator(task_id=task_id, **options)
    context = {"ti": Pushed(), "outlet_events": {a: SimpleNamespace() for a in operator.outlets}}
    operator.environment = {"LUNGSEG_RUN_ID": "run 1", "LUNGSEG_OVERRIDES": '["a.b=$(id)"]'}
    return operator, context, lambda: operator.execute(context)


def ends(pid: int) -> bool:
    """Whether a process that was killed is soon gone, or left for its parent to take notice of."""
    return not wait([one for one in psutil.process_iter() if one.pid == pid], patience=5)


class Events(list[Any]):
    """The asset's events as Airflow gives them: oldest first, and all, unless asked otherwise."""

    def ascending(self, upwards: bool) -> Events:
        return self if upwards else Events(reversed(self))

    def limit(self, count: int) -> Events:
        return Events(self[:count])


def promotion(module: ModuleType, *earlier: dict[str, Any] | None) -> Any:
    """A promotion after events with these extras."""
    from airflow.sdk.definitions.asset import Model

    asset = Model(name="m", uri="mlflow://models/m")
    _, context, run = execute(module, "promote", inlets=[asset], outlets=[asset])
    context["inlet_events"] = {asset: Events(SimpleNamespace(extra=extra) for extra in earlier)}
    return context["outlet_events"][asset], context, run


def say(report: dict[str, Any], code: int = 0) -> str:
    return f"echo '{json.dumps(report)}'; exit {code}"


def test_report_of_the_child_is_the_result(operator_module: ModuleType, lungseg: Any) -> None:
    lungseg(f"echo loading\necho '{REPORT}'\necho trailing log line >&2")
    _, _, run = execute(operator_module)

    assert run() == {"stage": "train", "status": "ran", "seconds": 1.5, "run_id": "abc"}


def test_child_gets_its_options_as_environment_and_no_shell_reads_them(
    operator_module: ModuleType, lungseg: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lungseg(f"echo \"$1 $2 | $LUNGSEG_RUN_ID | $LUNGSEG_OVERRIDES\"\necho '{REPORT}'")
    _, _, run = execute(operator_module)

    run()

    assert 'task train | run 1 | ["a.b=$(id)"]' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "exception", "message"),
    [
        ("echo 'error: params.yaml: bad'; exit 1", "AirflowFailException", "params.yaml: bad"),
        ("echo 'error: one'; echo 'error: two'; echo tail; exit 1", "AirflowFailException", "two"),
        ("exit 1", "AirflowFailException", "LUNGSEG_BIN"),
        ("echo 'Usage: lungseg'; exit 2", "AirflowFailException", "Usage"),
        ("exit 0", "AirflowFailException", "LUNGSEG_BIN"),
        ("echo 'error: MLflow is silent'; exit 75", "ServiceAwayError", "MLflow is silent"),
        ("echo working; kill -9 $$", "ChildDiedError", "exit code -9"),
        ("echo crash; exit 134", "ChildDiedError", "exit code 134"),
        ("echo 'no report'; exit 3", "ChildDiedError", "exit code 3"),
    ],
)
def test_exit_code_decides_between_failure_and_retry(
    operator_module: ModuleType, lungseg: Any, script: str, exception: str, message: str
) -> None:
    lungseg(script)
    _, _, run = execute(operator_module)

    with pytest.raises(Exception, match=message) as caught:
        run()

    assert type(caught.value).__name__ == exception


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo 'error: patient Doe Jane has 5 rows'; exit 1", "a person must change something"),
        ("echo 'ValueError: Doe Jane'; exit 70", "its process died"),
        (
            "echo 'error: MLflow at http://10.0.0.1 does not answer'; exit 75",
            "MLflow at http://10.0.0.1 does not answer (exit code 75",
        ),
    ],
)
def test_what_a_child_says_of_data_is_not_kept_for_the_message_to_people(
    operator_module: ModuleType, lungseg: Any, script: str, kind: str
) -> None:
    lungseg(script)
    _, context, run = execute(operator_module)

    with pytest.raises(Exception, match=r"exit code|Doe Jane"):
        run()

    [told] = context["ti"].values.values()
    assert told.startswith(kind)


def test_form_takes_a_revision_before_a_time_and_no_option(operator_module: ModuleType) -> None:
    revision = operator_module.PARAMS["revision"]

    assert revision.resolve("main@{2026-10-01T12:00:00+02:00}").startswith("main@")
    with pytest.raises(ValueError, match="does not match"):
        revision.resolve("--upload-pack=x")


def test_missing_program_fails_without_a_retry(
    operator_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGSEG_BIN", "/nowhere/lungseg")
    _, _, run = execute(operator_module)

    with pytest.raises(Exception, match="/nowhere/lungseg: No such file") as caught:
        run()

    assert type(caught.value).__name__ == "AirflowFailException"


def test_refusal_of_the_gate_is_a_success_with_its_reason(
    operator_module: ModuleType, lungseg: Any
) -> None:
    lungseg("echo 'error: dice 0.80 is below 0.90'; exit 2")
    _, _, run = execute(operator_module, "gate")

    report = run()

    assert report["status"] == "refused"
    assert "dice 0.80" in report["reason"]


@pytest.mark.parametrize("report", [{**SAME, "status": "released"}, SAME])
@pytest.mark.parametrize("earlier", [(), (None, {"record": 6}, {"version": "3"})])
def test_newest_release_is_the_asset_event_while_there_is_none_of_it(
    operator_module: ModuleType, lungseg: Any, report: dict[str, Any], earlier: Any
) -> None:
    lungseg(say({**report, "event": EVENT}))
    emitted, _, run = promotion(operator_module, *earlier)

    assert run() == {**report, "event": EVENT}

    assert emitted.extra == EVENT


@pytest.mark.parametrize("report", [{**SAME, "status": "released"}, SAME])
def test_release_whose_event_was_emitted_is_skipped_and_keeps_its_report(
    operator_module: ModuleType, lungseg: Any, report: dict[str, Any]
) -> None:
    lungseg(say({**report, "event": EVENT}))
    earlier = [*({"record": number} for number in range(100)), EVENT, {"record": 8}, None]
    emitted, context, run = promotion(operator_module, *earlier)

    with pytest.raises(Exception, match="this very model") as caught:
        run()

    assert type(caught.value).__name__ == "AirflowSkipException"
    assert context["ti"].values["return_value"] == {**report, "event": EVENT}
    assert not vars(emitted)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (say({**REFUSED, "status": "unchanged"}), "unchanged"),
        (say({**REFUSED, "status": "released"}), "released"),
        (say(REFUSED, 2), "refused"),
        ("echo 'error: the gate refused it'; exit 2", "refused"),
        (say(REFUSED, 3), "needs approval"),
    ],
)
def test_promotion_without_an_event_is_skipped_and_keeps_its_report(
    operator_module: ModuleType, lungseg: Any, script: str, status: str
) -> None:
    lungseg(script)
    emitted, context, run = promotion(operator_module)

    with pytest.raises(Exception, match="the gate refused it") as caught:
        run()

    assert type(caught.value).__name__ == "AirflowSkipException"
    assert context["ti"].values["return_value"]["status"] == status
    assert not vars(emitted)


def test_kill_ends_the_whole_process_group_even_if_it_ignores_the_request(
    operator_module: ModuleType, lungseg: Any, tmp_path: Path
) -> None:
    lungseg(f"trap '' TERM\nsleep 600 & echo $! > {tmp_path}/pid\nwait\nwait")
    operator, _, run = execute(operator_module)
    from airflow.sdk.exceptions import AirflowException

    def wait_for_the_end() -> None:
        with pytest.raises(AirflowException, match="exit code -9"):
            run()

    thread = threading.Thread(target=wait_for_the_end)
    thread.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        time.sleep(0.01)
    grandchild = int((tmp_path / "pid").read_text())

    operator.on_kill()
    thread.join(timeout=10)

    assert not thread.is_alive()
    assert ends(grandchild)


def test_kill_during_the_start_is_not_forgotten(
    operator_module: ModuleType, lungseg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's handler of SIGTERM may run between the child's start and the next line."""
    lungseg("sleep 20")
    operator, _, run = execute(operator_module)
    start = operator.start_child

    def start_and_be_killed() -> Any:
        child = start()
        operator.on_kill()
        return child

    monkeypatch.setattr(operator, "start_child", start_and_be_killed)

    with pytest.raises(Exception, match="exit code -15"):
        run()

    assert operator.child.poll() is not None


def test_nothing_that_the_child_left_behind_goes_on(
    operator_module: ModuleType, lungseg: Any, tmp_path: Path
) -> None:
    lungseg(f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid\necho '{REPORT}'")
    _, _, run = execute(operator_module)

    run()

    assert ends(int((tmp_path / "pid").read_text()))


def test_kill_before_the_start_does_nothing(operator_module: ModuleType) -> None:
    operator, _, _ = execute(operator_module)

    operator.on_kill()

    assert operator.child is None
