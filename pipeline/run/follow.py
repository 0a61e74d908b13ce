"""Start a run of a DAG and show it until its end: a live table, or a line a change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pipeline.errors import ServiceError
from pipeline.git_command import without_login
from pipeline.release.release_tables import verdict_table
from pipeline.run.task_report import GateReport, PromotionReport, TaskReport
from pipeline.services import airflow_home
from pipeline.services.airflow import Airflow, TaskState, log_in
from pipeline.settings import Settings
from pipeline.tracking.rest import MlflowServer
from pipeline.workspace.workspace import RunRequest

logger = logging.getLogger(__name__)

DAG = "retrain"
KINDS: Mapping[str, type[TaskReport]] = {"gate": GateReport, "promote": PromotionReport}
CLOSE = "close"
"""The task that only follows the others: it is not shown, and fails when one of them did."""
INTERVAL = 2.0
"""Seconds between two looks at a run."""
LINE_EVERY = 60.0
"""Seconds after which, without a terminal, a task that goes on is shown again."""
PATIENCE = 120.0
"""Seconds for which Airflow may be silent while a run is followed."""

ASKING = "waits for approval"
WORDS = {
    None: "waiting",
    "awaiting_input": ASKING,
    "deferred": ASKING,  # by an Airflow before 3.3
    "scheduled": "queued",
    "success": "done",
    "up_for_retry": "retry",
    "upstream_failed": "not run",
}
COLOURS = {
    "running": "cyan",
    "retry": "yellow",
    "failed": "red",
    "refused": "yellow",
    "rejected": "yellow",
    "needs approval": "yellow",
    ASKING: "yellow",
    "skipped": "magenta",
    "waiting": "dim",
    "queued": "dim",
    "not run": "dim",
}


@dataclass(frozen=True)
class Row:
    """A task as shown: its state in one word, its seconds, and what there is to say of it."""

    task: str
    state: str
    seconds: float | None
    note: str


@dataclass
class Run:
    """A DAG run as it goes on; reports are read once, when their task has ended."""

    airflow: Airflow
    tracking: MlflowServer
    dag: str
    id: str
    kinds: Mapping[str, type[TaskReport]]
    """Of the tasks that report more than every task does."""
    state: str = "queued"
    contents: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    """What the tasks that have ended reported, as Airflow keeps it; None for those without."""
    tasks: dict[str, TaskState] = field(default_factory=dict)

    def look(self) -> None:
        """Read states and new reports."""
        self.state = self.airflow.state(self.dag, self.id)
        self.tasks = self.airflow.tasks(self.dag, self.id)
        for name, task in self.tasks.items():
            if task.state in ("success", "skipped") and name not in self.contents:
                self.contents[name] = self.airflow.report(self.dag, self.id, task)

    def report(self, name: str) -> TaskReport | None:
        """The report of a task; None before it has ended, or if it left none."""
        content = self.contents.get(name)
        kind = self.kinds.get(name.partition(" ")[0], TaskReport)
        return kind.parse(content) if content else None

    def mlflow_id(self) -> str | None:
        """The MLflow run that the last task to end reports."""
        reports = [self.report(name) for name in self.contents]
        found = [one.run_id for one in reports if one and one.run_id]
        return found[-1] if found else None

    def asking(self) -> str | None:
        """The task that waits for a person's answer, if one does."""
        return next((t.name for t in self.tasks.values() if WORDS.get(t.state) == ASKING), None)

    def rows(self, order: Iterable[str]) -> list[Row]:
        """The tasks as rows, those of a mapped task by their index."""
        found = sorted(self.tasks.values(), key=lambda task: task.index)
        labels = {name: [task.label for task in found if task.name == name] for name in order}
        return [self.row(label) for name in labels for label in labels[name] or [name]]

    def row(self, name: str) -> Row:
        """The task as a row."""
        task = self.tasks.get(name, TaskState(name, None, 0, None))
        report = self.report(name)
        state = WORDS.get(task.state, task.state or "waiting")
        if task.state in ("success", "skipped") and report:
            state = report.status
        seconds = task.seconds if task.state in ("success", "failed", "running") else None
        return Row(name, state, seconds, "; ".join(self._notes(task, report)))

    def _notes(self, task: TaskState, report: TaskReport | None) -> Iterator[str]:
        if task.tries > 1:
            yield f"try {task.tries}"
        run = self.mlflow_id() if (task.name, task.state) == ("train", "running") else None
        progress = self.tracking.progress(run) if run else None
        if progress:
            yield str(progress)
        if report and (report.reason or report.status == "released"):
            yield summary(report)
        if report and report.note:
            yield report.note


def summary(report: TaskReport | None) -> str:
    """The outcome of a gate or a promotion in a few words."""
    if report is None:
        return ""
    if not isinstance(report, PromotionReport) or report.status != "released":
        return report.reason or report.status
    numbers = [f"{name} {value:.4f}" for name, value in sorted(report.metrics.items())]
    return ", ".join([f"version {report.version}", *numbers])


def start(settings: Settings, request: RunRequest) -> str:
    """Trigger a run and return its id. Raises ServiceError, and ParamsError for a wrong value."""
    conf = {
        "revision": request.revision,
        "overrides": list(request.overrides),
        "force": request.force,
        "allow_lowered": request.allow_lowered,
    }
    with log_in(settings) as airflow:
        return airflow.trigger(DAG, conf)


Conclusion = Callable[[Run, Settings, Console], tuple[int, str]]
"""Shows the results of a run that has ended; returns the exit code and a closing line."""


def conclude_retraining(run: Run, settings: Settings, console: Console) -> tuple[int, str]:
    """Show the checks of the gate.

    The exit code: 0 released or unchanged, 1 failed, 2 refused, 3 a person has to approve first.
    """
    gate = run.report("gate")
    if isinstance(gate, GateReport) and gate.checks:
        console.print(verdict_table(gate.checks))
    return _verdict(run, settings)


def follow(
    settings: Settings,
    run: str,
    console: Console | None = None,
    dag: str = DAG,
    conclude: Conclusion = conclude_retraining,
    kinds: Mapping[str, type[TaskReport]] = KINDS,
) -> int:
    """Show a run until it ends or asks a person, who may take days.

    The exit code is that of its conclusion, or 130 if interrupted.
    """
    console = console or Console()
    with (
        log_in(settings) as airflow,
        MlflowServer(settings.tracking_uri, login=settings.tracking_login) as tracking,
    ):
        page = f"{airflow.url}/dags/{dag}/runs/{run}"
        watched = Run(airflow, tracking, dag, run, kinds)
        _say(console, f"run {run}\n{page}")
        try:
            _watch(watched, console)
        except KeyboardInterrupt:
            _say(console, f"no longer followed; it goes on. To stop it, mark it failed at {page}")
            return 130
        code, verdict = conclude(watched, settings, console)
        _say(console, verdict)
        for line in _addresses(watched, page, settings):
            _say(console, line)
    return code


def _say(console: Console, text: str) -> None:
    """Print the text as it is, so that an address or a path stays whole."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _watch(run: Run, console: Console) -> None:
    order = [name for name in run.airflow.order(run.dag) if name != CLOSE]
    if not console.is_terminal:
        _watch_lines(run, order, console)
        return
    with Live(console=console, auto_refresh=False) as live:
        for _ in _looks(run):
            live.update(_table(run.rows(order)), refresh=True)


def _watch_lines(run: Run, order: list[str], console: Console) -> None:
    shown: dict[str, tuple[str, float]] = {}
    for _ in _looks(run):
        for row in run.rows(order):
            now = time.monotonic()
            state, when = shown.get(row.task, ("waiting", now))
            again = row.state == state == "running" and now - when >= LINE_EVERY
            if row.state not in ("waiting", state) or again:
                seconds = row.seconds and (again or row.state != "running")
                took = f" {row.seconds:.1f} s" if seconds else ""
                _say(console, f"{row.task}: {row.state}{took} {row.note}".rstrip())
                shown[row.task] = row.state, now


def _looks(run: Run) -> Iterator[None]:
    """Look at the run every INTERVAL seconds until it has ended or asks a person."""
    heard = time.monotonic()
    while run.state not in ("success", "failed") and not run.asking():
        try:
            run.look()
        except ServiceError as error:
            if time.monotonic() - heard > PATIENCE:
                raise
            logger.info("%s; asking again", error)
        else:
            heard = time.monotonic()
            yield
        time.sleep(INTERVAL)


def _table(rows: Iterable[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("task", "state", "seconds", "note"):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    for row in rows:
        seconds = f"{row.seconds:.1f}" if row.seconds is not None else ""
        colour = COLOURS.get(row.state, "green")
        table.add_row(row.task, f"[{colour}]{row.state}[/]", seconds, escape(row.note))
    return table


def _verdict(run: Run, settings: Settings) -> tuple[int, str]:
    asking = run.asking()
    if asking:
        page = f"{run.airflow.url}/dags/{run.dag}/runs/{run.id}/tasks/{asking}/required_actions"
        return 3, f"waits for approval: answer at {page}"
    if run.state == "failed":
        return 1, failure(run, settings)
    gate, promote = run.report("gate"), run.report("promote")
    if gate and gate.status == "refused":
        return 2, f"refused by the gate: {summary(gate)}"
    if promote is None:
        return 0, "unchanged"
    return promote.exit_code, f"{promote.status}: {summary(promote)}"


def failure(run: Run, settings: Settings) -> str:
    """Why a run failed: its first failed task, that task's last error, and where its log is."""
    tasks = sorted(run.tasks.values(), key=lambda task: task.name == CLOSE)  # a reason comes first
    failed = [task for task in tasks if task.state == "failed"]
    if not failed:
        return "failed: the run was marked failed or none of its tasks could start"
    task = failed[0]
    lines = run.airflow.log(run.dag, run.id, task)
    errors = [line for line in lines if line.startswith("error: ")]
    errors = errors or [line for line in lines if "Exception: " in line or "Error: " in line]
    mapped = f"/map_index={task.index}" if task.index >= 0 else ""
    folder = f"dag_id={run.dag}/run_id={run.id}/task_id={task.name}{mapped}"
    log = airflow_home.folder(settings) / "logs" / folder / f"attempt={task.tries}.log"
    page = f"{run.airflow.url}/dags/{run.dag}/runs/{run.id}/tasks/{task.name}"
    reason = errors[-1] if errors else "its process was killed"
    return f"failed: {task.label}: {reason}\n  log: {log if log.exists() else page}"


def _addresses(run: Run, page: str, settings: Settings) -> Iterator[str]:
    yield f"Airflow  {page}  ({airflow_home.account(settings)})"
    mlflow_id = run.mlflow_id()
    mlflow = run.tracking.page(mlflow_id) if mlflow_id else None
    yield f"MLflow   {mlflow or without_login(run.tracking.uri)}"
    if mlflow and mlflow_id and run.report("report"):
        yield f"Report   {run.tracking.page(mlflow_id, 'report/index.html')}"
