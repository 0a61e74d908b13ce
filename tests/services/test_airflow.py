from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.errors import ParamsError, ServiceError
from pipeline.services import airflow_home
from pipeline.services.airflow import Airflow, TaskState, log_in
from pipeline.settings import Settings

KNOWN = {"has_import_errors": False, "is_stale": False, "is_paused": False}
Routes = dict[str, Any]


def serve(routes: Routes, requests: list[httpx.Request] | None = None) -> Airflow:
    """A client of a server that answers `METHOD path` with a body, a status or a function."""

    def handle(request: httpx.Request) -> httpx.Response:
        if requests is not None:
            requests.append(request)
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "t"})
        answer = routes.get(f"{request.method} {request.url.path.removeprefix('/api/v2/')}", 404)
        answer = answer() if callable(answer) else answer
        if isinstance(answer, int):
            return httpx.Response(answer, json={"detail": f"no {request.url.path}"})
        return httpx.Response(200, json=answer)

    return Airflow("http://127.0.0.1:8080/", "admin", "secret", httpx.MockTransport(handle))


def test_silent_server_is_named_with_the_way_to_start_it() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:8080 does not answer.*lungseg up"):
        Airflow("http://127.0.0.1:8080", "admin", "x", httpx.MockTransport(refuse))


def test_server_is_named_without_a_login_in_its_address() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(201, json={"access_token": "t"}))

    airflow = Airflow("https://ci:secret@airflow.example/", "admin", "x", transport)

    assert airflow.url == "https://airflow.example"


def test_failed_log_in_names_the_user_and_the_settings() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json={"detail": "no"}))

    with pytest.raises(ServiceError, match=r"log in 'admin' \(401\).*LUNGSEG_AIRFLOW_PASSWORD"):
        Airflow("http://127.0.0.1:8080", "admin", "wrong", transport)


def test_log_in_that_the_server_cannot_do_is_worth_a_retry() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(503, json={"detail": "starting"}))

    with pytest.raises(ServiceError, match=r"log-in: 503 starting") as error:
        Airflow("http://127.0.0.1:8080", "admin", "right", transport)
    assert error.value.exit_code == 75


def test_trigger_sends_the_choices_and_returns_the_id_of_the_run() -> None:
    requests: list[httpx.Request] = []
    routes = {"GET dags/retrain": KNOWN, "POST dags/retrain/dagRuns": {"dag_run_id": "r1"}}

    with serve(routes, requests) as airflow:
        assert airflow.trigger("retrain", {"force": True}) == "r1"

    assert json.loads(requests[-1].content) == {"logical_date": None, "conf": {"force": True}}
    assert requests[-1].headers["Authorization"] == "Bearer t"


def test_trigger_waits_for_a_dag_that_is_not_read_yet() -> None:
    answers = iter([404, KNOWN])
    routes: Routes = {
        "GET dags/retrain": lambda: next(answers),
        "GET importErrors": {"import_errors": []},
        "POST dags/retrain/dagRuns": {"dag_run_id": "r1"},
    }

    with serve(routes) as airflow:
        assert airflow.trigger("retrain", {}) == "r1"


@pytest.mark.parametrize(
    ("dag", "errors", "message"),
    [
        (404, [], r"no DAG retrain after 0 s"),
        ({**KNOWN, "is_paused": True}, [], r"retrain is paused.*dags/retrain"),
        (
            404,
            [{"filename": "dags/retrain.py", "stack_trace": "Traceback\nKeyError: 'stages'\n"}],
            r"retrain\.py: not a DAG.*KeyError: 'stages'",
        ),
        (
            {**KNOWN, "has_import_errors": True},
            [{"filename": "retrain.py", "stack_trace": "SyntaxError: bad"}],
            r"SyntaxError: bad",
        ),
    ],
)
def test_dag_that_cannot_run_is_explained(
    dag: Any, errors: list[dict[str, str]], message: str
) -> None:
    routes = {"GET dags/retrain": dag, "GET importErrors": {"import_errors": errors}}

    with serve(routes) as airflow, pytest.raises(ServiceError, match=message):
        airflow.trigger("retrain", {}, patience=0)


def test_value_that_the_form_refuses_is_a_wrong_parameter() -> None:
    routes = {"GET dags/retrain": KNOWN, "POST dags/retrain/dagRuns": 400}

    with serve(routes) as airflow, pytest.raises(ParamsError, match="no /api/v2/dags/retrain"):
        airflow.trigger("retrain", {"overrides": ["x"]})


def test_token_that_ran_out_is_renewed() -> None:
    answers = iter([401, {"state": "running"}])
    requests: list[httpx.Request] = []

    with serve({"GET dags/d/dagRuns/r": lambda: next(answers)}, requests) as airflow:
        assert airflow.state("d", "r") == "running"

    assert [request.url.path for request in requests].count("/auth/token") == 2


def test_unexpected_answer_is_told_with_its_detail() -> None:
    with serve({}) as airflow, pytest.raises(ServiceError, match=r"GET .*/r: 404 no /api"):
        airflow.state("d", "r")


def test_answer_that_is_not_json_is_told_by_its_status() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        token = {"access_token": "t"}
        login = request.url.path == "/auth/token"
        return httpx.Response(201, json=token) if login else httpx.Response(502, text="<html>")

    transport = httpx.MockTransport(handle)
    with (
        Airflow("http://127.0.0.1:8080", "admin", "x", transport) as airflow,
        pytest.raises(ServiceError, match="502 Bad Gateway"),
    ):
        airflow.health()


def test_tasks_come_in_the_order_in_which_they_run() -> None:
    rows = [
        {"task_id": "gate", "downstream_task_ids": []},
        {"task_id": "train", "downstream_task_ids": ["gate"]},
        {"task_id": "split", "downstream_task_ids": ["train", "gate"]},
    ]

    with serve({"GET dags/d/tasks": {"tasks": rows}}) as airflow:
        assert airflow.order("d") == ["split", "train", "gate"]


def test_running_task_has_seconds_since_its_start() -> None:
    row = {"task_id": "a", "state": "running", "try_number": 2, "duration": None, "map_index": -1}
    rows = [
        {**row, "start_date": "2020-01-01T00:00:00Z"},
        {**row, "task_id": "b", "state": None, "start_date": None},
    ]

    page = {"task_instances": rows, "total_entries": 2}
    with serve({"GET dags/d/dagRuns/r/taskInstances": page}) as airflow:
        tasks = airflow.tasks("d", "r")

    assert tasks["a"].tries == 2
    assert (tasks["a"].seconds or 0) > 1e6
    assert tasks["b"].seconds is None


def test_all_parts_of_a_mapped_task_are_read_page_by_page() -> None:
    row = {"task_id": "trial", "state": "success", "try_number": 1, "duration": 1.0}
    pages = iter([[0, 1], [2]])
    requests: list[httpx.Request] = []

    def page() -> dict[str, Any]:
        rows = [{**row, "map_index": index} for index in next(pages)]
        return {"task_instances": rows, "total_entries": 3}

    with serve({"GET dags/d/dagRuns/r/taskInstances": page}, requests) as airflow:
        tasks = airflow.tasks("d", "r")

    assert list(tasks) == ["trial 0", "trial 1", "trial 2"]
    assert requests[-1].url.params["offset"] == "2"


def test_report_and_log_of_a_mapped_task_are_those_of_its_part() -> None:
    requests: list[httpx.Request] = []
    path = "GET dags/d/dagRuns/r/taskInstances/trial"
    routes = {f"{path}/xcomEntries/return_value": {"value": {}}, f"{path}/logs/1": {"content": []}}
    part = TaskState("trial", "success", 1, 1.0, 7)

    with serve(routes, requests) as airflow:
        airflow.report("d", "r", part)
        airflow.log("d", "r", part)

    assert [request.url.params["map_index"] for request in requests[1:]] == ["7", "7"]


def test_report_is_none_until_there_is_one() -> None:
    path = "GET dags/d/dagRuns/r/taskInstances/{}/xcomEntries/return_value"
    routes = {path.format("a"): {"value": {"status": "ran"}}, path.format("b"): {"value": "text"}}

    with serve(routes) as airflow:
        tasks = [TaskState(name, "success", 1, 1.0) for name in ("a", "b", "c")]
        found = [airflow.report("d", "r", task) for task in tasks]

    assert found == [{"status": "ran"}, None, None]


def test_a_report_that_cannot_be_had_now_is_not_taken_for_none() -> None:
    path = "GET dags/d/dagRuns/r/taskInstances/promote/xcomEntries/return_value"

    with (
        serve({path: 503}) as airflow,
        pytest.raises(ServiceError, match="503"),
    ):
        airflow.report("d", "r", TaskState("promote", "success", 1, 1.0))


def test_log_holds_the_exceptions_of_its_entries() -> None:
    error = {"exc_type": "AirflowException", "exc_value": "exit code -9"}
    content = ["plain", {"event": "Task failed", "error_detail": [error]}, {"event": "end"}]
    path = "GET dags/d/dagRuns/r/taskInstances/a/logs/2"

    with serve({path: {"content": content}}) as airflow:
        lines = airflow.log("d", "r", TaskState("a", "failed", 2, 1.0))

    assert lines == ["plain", "Task failed", "AirflowException: exit code -9", "end"]


@pytest.mark.parametrize(("found", "made"), [(404, ["POST"]), ({"name": "gpu"}, [])])
def test_pool_is_made_once(found: Any, made: list[str]) -> None:
    requests: list[httpx.Request] = []

    with serve({"GET pools/gpu": found, "POST pools": {}}, requests) as airflow:
        airflow.ensure_pool("gpu", 2, "why")

    posts = [request.method for request in requests if request.url.path == "/api/v2/pools"]
    assert posts == made


def test_asset_events_come_with_the_newest_last() -> None:
    events = [{"timestamp": "2"}, {"timestamp": "1"}]

    with serve({"GET assets/events": {"asset_events": events}}) as airflow:
        assert [event["timestamp"] for event in airflow.asset_events()] == ["1", "2"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("LUNGSEG_AIRFLOW_PASSWORD", raising=False)
    monkeypatch.setattr(airflow_home, "_migrate", lambda *_: None)
    return Settings(home=tmp_path / "50% home", airflow_port=8123)


def test_password_is_made_once_and_only_its_owner_may_read_it(settings: Settings) -> None:
    airflow_home.prepare(settings, {})
    first = airflow_home.password(settings)
    airflow_home.prepare(settings, {})

    assert airflow_home.password(settings) == first
    for name in ("passwords.json", "airflow.cfg"):
        assert (airflow_home.folder(settings) / name).stat().st_mode & 0o077 == 0


class Stream(io.StringIO):
    """Output that goes to a terminal, or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_generated_password_is_shown_once_and_only_on_a_terminal(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    terminal: bool,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes anything for a terminal then
    caplog.set_level(logging.DEBUG)
    shown, errors = Stream(terminal=terminal), Stream(terminal=True)
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setattr("sys.stderr", errors)

    for _ in range(2):
        airflow_home.prepare(settings, {})

    password = airflow_home.password(settings)
    line = f"Airflow's password of admin, shown this once: {password}\n"
    assert shown.getvalue() == (line if terminal else "")
    assert password not in errors.getvalue() + caplog.text


def test_account_names_the_file_of_a_generated_password_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = airflow_home.folder(settings) / "passwords.json"

    assert airflow_home.account(settings) == f"log in as admin, password in {where}"
    monkeypatch.setenv("LUNGSEG_AIRFLOW_PASSWORD", "mine")
    assert airflow_home.account(settings) == "log in as admin"


def test_password_of_the_settings_wins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGSEG_AIRFLOW_PASSWORD", "mine")
    shown = Stream(terminal=True)
    monkeypatch.setattr("sys.stdout", shown)
    airflow_home.prepare(settings, {})

    assert shown.getvalue() == ""
    passwords = json.loads((airflow_home.folder(settings) / "passwords.json").read_text())
    assert airflow_home.password(settings) == passwords["admin"] == "mine"


def test_missing_password_names_its_file_and_the_settings(settings: Settings) -> None:
    with pytest.raises(ServiceError, match=r"passwords\.json: no password of 'admin'"):
        log_in(settings)


def test_configuration_keeps_its_secrets_and_follows_the_settings(settings: Settings) -> None:
    import configparser

    def read() -> configparser.ConfigParser:
        parser = configparser.ConfigParser()
        parser.read(airflow_home.folder(settings) / "airflow.cfg")
        return parser

    airflow_home.prepare(settings, {})
    first = read()
    airflow_home.prepare(settings, {})

    assert read() == first
    assert first["api"]["port"] == "8123"
    assert first["api"]["host"] == "127.0.0.1"
    assert first["logging"]["file_task_handler_new_file_permissions"] == "0o600"
    assert first["logging"]["file_task_handler_new_folder_permissions"] == "0o700"
    assert first["database"]["sql_alchemy_conn"].startswith(f"sqlite:///{settings.home}")
    assert len(first["api_auth"]["jwt_secret"]) >= 64


def test_migration_that_fails_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'OperationalError: disk full'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(airflow_home, "program", lambda _: str(program))

    with pytest.raises(ServiceError, match=r"code 3: OperationalError.*airflow-migrate\.log"):
        airflow_home.prepare(Settings(home=tmp_path), {})


def test_database_is_made_once_for_a_version_and_again_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    program, database = tmp_path / "program", airflow_home.folder(settings) / "airflow.db"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ntouch {database}\n')
    program.chmod(0o755)
    monkeypatch.setattr(airflow_home, "program", lambda _: str(program))

    for _ in range(2):
        airflow_home.prepare(settings, {})
    assert (tmp_path / "calls").read_text() == "db migrate\n"

    database.unlink()
    airflow_home.prepare(settings, {})
    assert (tmp_path / "calls").read_text() == "db migrate\n" * 2


def test_project_without_dags_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(airflow_home, "__file__", str(tmp_path / "a" / "b" / "c.py"))

    with pytest.raises(ServiceError, match="no folder dags/"):
        airflow_home.project(Settings(repo=str(tmp_path)))
