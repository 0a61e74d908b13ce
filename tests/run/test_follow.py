from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import ServiceError
from pipeline.files import write_json
from pipeline.run import follow as module
from pipeline.run.follow import follow, start
from pipeline.services.airflow import TaskState
from pipeline.settings import Settings
from pipeline.tracking.rest import Progress, run_page
from pipeline.workspace.workspace import RunRequest

RAN = {"stage": "train", "status": "ran", "run_id": "m1"}
RELEASED = {"stage": "promote", "status": "released", "version": "3", "metrics": {"dice": 0.95}}
ENDED = dict.fromkeys(("train", "gate", "promote"), "success")


@dataclass
class FakeAirflow:
    """Airflow as a list of looks; a look is the state of the run and those of its tasks."""

    looks: list[tuple[str, dict[str, str | None]]]
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    tries: int = 1
    silent: int = 0
    url: str = "http://airflow"
    conf: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> FakeAirflow:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        self.conf = {"dag": dag, **conf}
        return "r1"

    def order(self, dag: str) -> list[str]:
        return ["train", "gate", "promote"]

    def state(self, dag: str, run: str) -> str:
        if self.silent:
            self.silent -= 1
            raise ServiceError("Airflow at http://airflow does not answer")
        self.now = self.looks.pop(0)
        if self.now[0] == "interrupt":
            raise KeyboardInterrupt
        return self.now[0]

    def tasks(self, dag: str, run: str) -> dict[str, TaskState]:
        return {name: TaskState(name, s, self.tries, 1.25) for name, s in self.now[1].items()}

    def report(self, dag: str, run: str, task: TaskState) -> dict[str, Any] | None:
        report = self.reports.get(task.label)
        return report and {"stage": task.name, **report}

    def log(self, dag: str, run: str, task: TaskState) -> list[str]:
        return self.lines


class FakeTracking:
    def __init__(self, uri: str, login: tuple[str, str] | None) -> None:
        self.uri = "http://mlflow"

    def __enter__(self) -> FakeTracking:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def progress(self, run: str) -> Progress:
        return Progress("epoch 4/8, 42 % trained: loss 0.0712, 38 min left", 3, 0.9)

    def page(self, run: str, artifact: str = "") -> str:
        return run_page("http://mlflow", "7", run, artifact)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    monkeypatch.setattr(module, "MlflowServer", FakeTracking)
    monkeypatch.setenv("LUNGSEG_AIRFLOW_PASSWORD", "secret")


def show(
    monkeypatch: pytest.MonkeyPatch, airflow: FakeAirflow, home: Path, terminal: bool = False
) -> tuple[int, str]:
    monkeypatch.setattr(module, "log_in", lambda _: airflow)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    code = follow(Settings(home=home), "r1", console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_start_triggers_the_dag_with_its_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = FakeAirflow([])
    monkeypatch.setattr(module, "log_in", lambda _: airflow)

    request = RunRequest("", "main", ("train.epochs=2",), force=True, allow_lowered="Ada")

    assert start(Settings(), request) == "r1"

    expected = {"revision": "main", "overrides": ["train.epochs=2"], "force": True}
    expected["allow_lowered"] = "Ada"
    assert airflow.conf == {"dag": "retrain", **expected}


def test_each_change_of_state_is_one_line_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[Any] = [
        ("queued", {"train": None}),
        ("running", {"train": "queued"}),
        ("running", {"train": "running"}),
        ("running", {"train": "running"}),
        ("success", ENDED),
    ]
    reports = {"train": {"status": "cached"}, "gate": {"status": "passed"}, "promote": RELEASED}

    code, text = show(monkeypatch, FakeAirflow(looks, reports), tmp_path)

    assert code == 0
    assert [
        line for line in text.splitlines() if line.startswith(("train", "gate", "promote"))
    ] == [
        "train: queued",
        "train: running",
        "train: cached 1.2 s",
        "gate: passed 1.2 s",
        "promote: released 1.2 s version 3, dice 0.9500",
    ]
    assert "released: version 3, dice 0.9500" in text


def test_terminal_shows_a_table_with_the_progress_of_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[Any] = [
        ("running", {"gate": "success", "train": "running"}),
        ("success", ENDED),
    ]

    _, text = show(monkeypatch, FakeAirflow(looks, {"gate": RAN}), tmp_path, terminal=True)

    assert "epoch 4/8, 42 % trained: loss 0.0712, 38 min left" in " ".join(text.split())
    assert "validation Dice 0.900 after epoch 3" in " ".join(text.split())
    assert "seconds" in text


def test_a_task_that_goes_on_is_shown_again_and_again_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    running = ("running", {"validate": "success", "train": "running"})
    airflow = FakeAirflow([running, running, running, ("success", ENDED)], {"validate": RAN})
    monkeypatch.setattr(airflow, "order", lambda _: ["validate", "train", "gate", "promote"])

    _, text = show(monkeypatch, airflow, tmp_path)

    said = "epoch 4/8, 42 % trained: loss 0.0712, 38 min left; validation Dice 0.900 after epoch 3"
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("train: running")] == [
        f"train: running {said}",
        f"train: running 1.2 s {said}",
        f"train: running 1.2 s {said}",
    ]
    assert sum(line.startswith("validate") for line in lines) == 1


def test_end_names_the_pages_of_the_run_and_its_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reports = {"train": RAN, "report": RAN, "promote": RELEASED}
    looks: list[Any] = [("success", {**ENDED, "report": "success"})]

    _, text = show(monkeypatch, FakeAirflow(looks, reports), tmp_path)

    assert "http://airflow/dags/retrain/runs/r1  (log in as admin)" in text
    assert "http://mlflow/#/experiments/7/runs/m1/artifacts/report/index.html?" in text
    assert "secret" not in text


def test_end_names_mlflow_without_a_login_where_the_run_has_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")
    monkeypatch.setattr(
        FakeTracking, "__init__", lambda tracking, uri, login: setattr(tracking, "uri", uri)
    )
    monkeypatch.setattr(FakeTracking, "page", lambda *_: None)

    _, text = show(monkeypatch, FakeAirflow([("failed", ENDED)], {}), tmp_path)

    assert text.endswith("MLflow   https://mlflow.example\n")


def test_end_names_the_file_of_the_generated_password_and_never_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LUNGSEG_AIRFLOW_PASSWORD")
    passwords = tmp_path / "airflow/passwords.json"
    write_json(passwords, {"admin": "generated"})

    for terminal in (False, True):
        airflow = FakeAirflow([("success", ENDED)], {"promote": RELEASED})
        _, text = show(monkeypatch, airflow, tmp_path, terminal=terminal)

        assert f"(log in as admin, password in {passwords})" in text
        assert "generated" not in text


@pytest.mark.parametrize(
    ("reports", "code", "verdict"),
    [
        ({"promote": RELEASED}, 0, "released: version 3"),
        (
            {"gate": {"status": "refused", "reason": "dice 0.8 < 0.9"}},
            2,
            "refused by the gate: dice 0.8 < 0.9",
        ),
        ({"promote": {"status": "refused", "reason": "stale"}}, 2, "refused: stale"),
        (
            {"gate": {"status": "passed"}, "promote": {"status": "unchanged", "reason": "same"}},
            0,
            "unchanged: same",
        ),
        (
            {"promote": {"status": "needs approval", "reason": "nobody was asked"}},
            3,
            "needs approval: nobody was asked",
        ),
    ],
)
def test_reports_decide_verdict_and_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    reports: dict[str, dict[str, Any]],
    code: int,
    verdict: str,
) -> None:
    airflow = FakeAirflow([("success", {**ENDED, "promote": "skipped"})], reports)

    found, text = show(monkeypatch, airflow, tmp_path)

    assert found == code
    assert verdict in text


def test_skipped_promotion_is_shown_with_its_own_status_and_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same = {"status": "unchanged", "reason": "version 3 is this very model", "event": {"record": 7}}
    looks: list[Any] = [("success", {**ENDED, "promote": "skipped"})]

    _, text = show(monkeypatch, FakeAirflow(looks, {"promote": same}), tmp_path)

    assert "promote: unchanged version 3 is this very model" in text


@pytest.mark.parametrize("state", ["awaiting_input", "deferred"])
def test_run_that_waits_for_a_person_is_no_longer_followed_and_names_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str
) -> None:
    gate = {"status": "passed", "needs_approval": True, "summary": "| dice | 0.9 |"}
    airflow = FakeAirflow([("running", {"gate": "success", "approve": state})], {"gate": gate})
    monkeypatch.setattr(airflow, "order", lambda _: ["gate", "approve", "promote", "close"])

    code, text = show(monkeypatch, airflow, tmp_path)

    assert code == 3
    page = "http://airflow/dags/retrain/runs/r1/tasks/approve/required_actions"
    assert f"waits for approval: answer at {page}\n" in text
    assert "approve: waits for approval" in text


def test_closing_of_the_run_is_not_shown_and_is_no_reason_when_there_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[Any] = [("failed", {"close": "failed", "train": "failed", "promote": "skipped"})]
    airflow = FakeAirflow(looks, lines=["error: params.yaml: bad"])
    monkeypatch.setattr(airflow, "order", lambda _: ["train", "promote", "close"])

    code, text = show(monkeypatch, airflow, tmp_path)

    assert code == 1
    assert "failed: train: error: params.yaml: bad" in text
    assert "close" not in text


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["error: old", "error: params.yaml: bad", "Exception: x"], "error: params.yaml: bad"),
        (["text", "AirflowException: exit code -9"], "AirflowException: exit code -9"),
        (["text"], "its process was killed"),
    ],
)
def test_failure_names_the_task_its_last_error_and_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str], reason: str
) -> None:
    looks: list[Any] = [("failed", {"train": "failed", "gate": "upstream_failed"})]
    folder = tmp_path / "airflow/logs/dag_id=retrain/run_id=r1/task_id=train"
    folder.mkdir(parents=True)
    (folder / "attempt=2.log").touch()

    code, text = show(monkeypatch, FakeAirflow(looks, lines=lines, tries=2), tmp_path)

    assert code == 1
    assert f"failed: train: {reason}\n  log: {folder}/attempt=2.log" in text
    assert "gate: not run" in text


def test_failure_elsewhere_names_the_page_of_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, text = show(monkeypatch, FakeAirflow([("failed", {"train": "failed"})]), tmp_path)

    assert "log: http://airflow/dags/retrain/runs/r1/tasks/train" in text


def test_run_that_was_marked_failed_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, text = show(monkeypatch, FakeAirflow([("failed", {"train": "skipped"})]), tmp_path)

    assert code == 1
    assert "marked failed" in text


def test_silence_of_airflow_is_borne_for_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    airflow = FakeAirflow([("success", ENDED)], {"promote": RELEASED}, silent=3)

    assert show(monkeypatch, airflow, tmp_path)[0] == 0


def test_silence_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1.0)

    with pytest.raises(ServiceError, match="does not answer"):
        show(monkeypatch, FakeAirflow([], silent=3), tmp_path)


def test_interruption_leaves_the_run_and_says_how_to_stop_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, text = show(monkeypatch, FakeAirflow([("interrupt", {})]), tmp_path)

    assert code == 130
    assert "it goes on" in text
    assert "mark it failed at http://airflow/dags/retrain/runs/r1" in text


def test_parts_of_a_mapped_task_are_rows_in_order_with_what_they_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    airflow = FakeAirflow([("running", {"train": None}), ("success", {})])
    airflow.reports = {"train 2": {"status": "ran", "note": "dice 0.9"}}
    parts = [TaskState("train", "success", 1, 1.0, index) for index in (10, 2)]
    looks = iter([{}, {part.label: part for part in parts}])
    monkeypatch.setattr(airflow, "tasks", lambda *_: next(looks))

    _, text = show(monkeypatch, airflow, tmp_path)

    lines = [line for line in text.splitlines() if line.startswith("train")]
    assert lines == ["train 2: ran 1.0 s dice 0.9", "train 10: done 1.0 s"]


def test_failure_of_a_part_of_a_mapped_task_names_its_own_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    airflow = FakeAirflow([("failed", {})], lines=["error: bad"])
    part = TaskState("train", "failed", 1, 1.0, 3)
    monkeypatch.setattr(airflow, "tasks", lambda *_: {part.label: part})
    folder = tmp_path / "airflow/logs/dag_id=retrain/run_id=r1/task_id=train/map_index=3"
    folder.mkdir(parents=True)
    (folder / "attempt=1.log").touch()

    _, text = show(monkeypatch, airflow, tmp_path)

    assert f"failed: train 3: error: bad\n  log: {folder}/attempt=1.log" in text


def test_a_report_of_another_version_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    airflow = FakeAirflow([("success", ENDED)], {"gate": {"status": "passed", "votes": 3}})

    with pytest.raises(ServiceError, match="task gate: its report has votes: Extra inputs"):
        show(monkeypatch, airflow, tmp_path)
