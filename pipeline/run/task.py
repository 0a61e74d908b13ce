"""One task of a run: a stage brought up to date and recorded, the gate, or the promotion."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import LungsegError, ParamsError, ServiceError
from pipeline.model.checkpoint import clear_checkpoints
from pipeline.parts import StagePart, all_parts
from pipeline.release.approval import approval_text
from pipeline.release.gate import run_gate
from pipeline.release.promotion import run_promotion
from pipeline.remote_store import open_store
from pipeline.run.cost import keep_seconds, record_costs
from pipeline.run.recording import record_cached, record_stage, start_record, take_recorded
from pipeline.run.task_report import GateReport, PromotionReport, RunPlan, TaskReport
from pipeline.settings import Settings
from pipeline.stage_graph import stage_definition, stage_names
from pipeline.tracking.client import connect
from pipeline.tracking.hosts import leave_line, this_host
from pipeline.tracking.run_record import (
    REVISION_TAG,
    RunRecord,
    find_record,
    latest_lock,
    open_record,
)
from pipeline.workspace.pushing import push_results
from pipeline.workspace.reproduce import reproduce
from pipeline.workspace.stage_parts import StageParts, part_count
from pipeline.workspace.workspace import RunRequest, Workspace, find_workspace, make_workspace

log = logging.getLogger(__name__)

PLAN = "plan"
"""The task before the stages of a run that may do some of them in parts."""
AFTER_STAGES = ("gate", "promote")
FAILURE_TAG = "lungseg.failure"
"""Of the run record: why the run failed."""
FORCED = Path(".git", "lungseg-forced")
"""In the workspace: a file for each forced stage that has run, until its task succeeds."""
FINISHED_TRAINING = Path(".git", "lungseg-finished-training")
"""In the workspace: the key of the checkpoints of a training, until its result is pushed."""


def run_task(
    settings: Settings, request: RunRequest, name: str, part: StagePart | None = None
) -> TaskReport:
    """Do one task, or a part of a stage; return what a scheduler shows of it."""
    started = time.monotonic()
    workspace = open_workspace(settings, request)
    try:
        if request.force and name in stage_names(workspace.folder):
            take_recorded(settings, request.run_id, workspace, before=name)
        if name == PLAN:
            report: TaskReport = _plan(workspace)
        elif part:
            report = TaskReport(stage=name, status=_part(settings, request, workspace, name, part))
        elif name in AFTER_STAGES:
            report = _after_stages(settings, request, workspace, name)
        else:
            report = TaskReport(stage=name, status=_stage(settings, request, workspace, name))
    except LungsegError as error:
        _record_failure(settings, request, workspace, name, error)
        keep_seconds(workspace, name, time.monotonic() - started)
        if not isinstance(error, ServiceError):  # a silent MLflow is not waited for once more
            record_costs(settings, request.run_id, workspace)
        raise
    keep_seconds(workspace, name, time.monotonic() - started)
    if report.status not in ("cached", "planned"):
        record_costs(settings, request.run_id, workspace)
    return finished(report, workspace.mlflow_run_id, started)


def _record_failure(
    settings: Settings, request: RunRequest, workspace: Workspace, name: str, error: LungsegError
) -> None:
    """Record why the task failed, and what a refused dataset looked like."""
    try:
        with connect(settings) as client:
            record = open_record(settings, client, request.run_id)
            reason = str(error).replace(f"{workspace.folder}/", "")  # MLflow is for others, too
            client.set_tag(record.run_id, FAILURE_TAG, reason[:5000])
            refused = workspace.folder / "artifacts" / f"{name}-refused"
            if refused.exists():
                record.log_artifact(refused, name)
            client.set_terminated(record.run_id, "FAILED")
    except ServiceError as silent:
        log.warning("the failure could not be recorded: %s", silent)


def forget_failure(record: RunRecord) -> bool:
    """Remove why a task of the run failed, which was made up for; whether there was anything."""
    failed = FAILURE_TAG in record.run.data.tags
    if failed:
        record.client.delete_tag(record.run_id, FAILURE_TAG)
    return failed


def close_run(settings: Settings, run_id: str) -> TaskReport:
    """End the run record as failed if no task has ended it: one was killed, or never began."""
    with connect(settings) as client:
        record = find_record(settings, client, run_id)
        if record and record.run.info.status == "RUNNING":
            if FAILURE_TAG not in record.run.data.tags:
                client.set_tag(record.run_id, FAILURE_TAG, "a task was killed or never began")
            client.set_terminated(record.run_id, "FAILED")
    return TaskReport(stage="close", status="closed", run_id=record.run_id if record else None)


def finished(report: TaskReport, run_id: str | None, started: float) -> TaskReport:
    """The report with its MLflow run and the seconds since `started`, of time.monotonic()."""
    seconds = round(time.monotonic() - started, 1)
    return report.model_copy(update={"run_id": run_id, "seconds": seconds})


def task_names(folder: Path) -> list[str]:
    """Return every task of a run of the project in `folder`, in order."""
    return [*stage_names(folder), *AFTER_STAGES]


def open_workspace(settings: Settings, request: RunRequest, lock: Path | None = None) -> Workspace:
    """Return the run's workspace, made if this host lacks it, and its MLflow run.

    The run's first task fixes the revision; a host that joins later checks the same one out.
    `lock` is a dvc.lock to start from when the revision has none; by default the newest run's.
    """
    workspace = find_workspace(settings, request.run_id)
    if workspace and workspace.mlflow_run_id:
        return workspace
    with (
        connect(settings, create=True) as client,
        tempfile.TemporaryDirectory() as temporary,
    ):
        record = find_record(settings, client, request.run_id)
        if record:
            request = replace(request, revision=record.run.data.tags[REVISION_TAG])
        lock = lock or latest_lock(settings, client, Path(temporary))
        workspace = make_workspace(settings, request, lock)
        if record is None:
            record = start_record(settings, client, request, workspace)
        elif not record.is_whole:
            record.log_project(workspace.folder)
        leave_line(client, record.run.info.experiment_id, this_host("task"))
    workspace = replace(workspace, mlflow_run_id=record.run_id)
    workspace.save()
    log.info("run %s at %s: %s", request.run_id, workspace.revision[:10], record.url)
    return workspace


def _stage(settings: Settings, request: RunRequest, workspace: Workspace, name: str) -> str:
    recording = _Recording(settings, request.run_id, workspace, name)
    forced = workspace.folder / FORCED / name
    ran_before = request.force and forced.exists()
    parts = StageParts(settings, workspace, name) if _in_parts(workspace, name) else None
    if parts:
        parts.fetch()
    try:
        status = reproduce(
            workspace,
            name,
            force=request.force and not ran_before,
            started=recording.start,
            LUNGSEG_HOME=str(settings.home),  # by default it is below the workspace
            MLFLOW_TRACKING_URI=settings.tracking_uri,
            MLFLOW_RUN_ID=workspace.mlflow_run_id or "",
            LUNGSEG_PARTS=str(parts.folder) if parts else "",
            LUNGSEG_FINISHED_TRAINING=str(workspace.folder / FINISHED_TRAINING),
        )
        if request.force:  # a retry has only to record and to push what ran
            forced.parent.mkdir(exist_ok=True)
            forced.touch()
    finally:
        recording.stop()
    if ran_before:
        status = "ran"
    # A cached stage is recorded by the next task that starts MLflow's client anyway: that takes
    # longer than everything else such a task does.
    if status == "ran":
        recording.finish()
    push_results(settings, workspace, name)
    _let_go_of_checkpoints(settings, workspace, name)
    if parts:
        parts.clear()
    if request.force:
        forced.unlink()
    return status


def _let_go_of_checkpoints(settings: Settings, workspace: Workspace, name: str) -> None:
    """Remove those of a training whose result is recorded and pushed.

    It is when the stage `train`, or one after it, is up to date: DVC has kept its result then.
    """
    finished, names = workspace.folder / FINISHED_TRAINING, stage_names(workspace.folder)
    if finished.exists() and "train" in names[: names.index(name) + 1]:
        key = finished.read_text(encoding="utf-8")
        clear_checkpoints(settings.checkpoints, key, open_store(workspace.folder))
        finished.unlink()


def _plan(workspace: Workspace) -> RunPlan:
    """The parts that this run's stages are done in; none when they are done in one piece."""
    count = part_count(workspace.folder)
    parts = tuple(map(str, all_parts(count))) if count > 1 else ()
    return RunPlan(stage=PLAN, status="planned", parts=parts)


def _in_parts(workspace: Workspace, name: str) -> bool:
    return stage_definition(workspace.folder, name).in_parts and part_count(workspace.folder) > 1


def _part(
    settings: Settings, request: RunRequest, workspace: Workspace, name: str, part: StagePart
) -> str:
    """Do a part of a stage, unless the stage's results are there, and send it to the store."""
    if not _in_parts(workspace, name):
        raise ParamsError(
            f"{name}: found part {part}, expected a stage of which dvc.yaml says meta.parts and "
            "stages.parts above 1; do all of it"
        )
    parts = StageParts(settings, workspace, name)
    place, status = parts.folder / part.folder, "ran"
    if not parts.made(part):
        shutil.rmtree(place, ignore_errors=True)  # a damaged one must not pass for a new one
        status = reproduce(
            workspace,
            name,
            force=request.force,
            part=place,
            LUNGSEG_HOME=str(settings.home),
            LUNGSEG_PART=str(part),
            LUNGSEG_PARTS=str(parts.folder),
        )
    if parts.made(part):
        parts.send(part)
    return status


def _after_stages(
    settings: Settings, request: RunRequest, workspace: Workspace, name: str
) -> TaskReport:
    if name == "gate":  # this host may have done none of the stages
        take_recorded(settings, request.run_id, workspace)
        last = stage_names(workspace.folder)[-1]
        _stage(settings, replace(request, force=False), workspace, last)
    with connect(settings) as client:
        record = open_record(settings, client, request.run_id)
        if forget_failure(record):
            client.update_run(record.run_id, status="RUNNING")
        if name == "promote":
            return PromotionReport.of(run_promotion(record, workspace, request.allow_lowered))
        record_cached(record, workspace)
        record.log_artifact(workspace.folder / "dvc.lock", "")
        verdict = run_gate(record, workspace, request.allow_lowered)
        summary = approval_text(record, verdict) if verdict.needs_approval else ""
        return GateReport.of(verdict, summary)


class _Recording:
    """What MLflow learns of one stage while it runs and when it ends."""

    def __init__(self, settings: Settings, run_id: str, workspace: Workspace, name: str) -> None:
        self.settings, self.run_id, self.workspace, self.name = settings, run_id, workspace, name
        self.monitor: Any = None

    def start(self) -> None:
        """Mark the run as running and sample the machine from now on.

        Without an answer of MLflow the stage, which has begun, goes on: it is recorded at its end.
        """
        try:
            with connect(self.settings) as client:
                from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

                run_id = self.workspace.mlflow_run_id
                client.update_run(run_id, status="RUNNING")
                self.monitor = SystemMetricsMonitor(run_id, resume_logging=True)
                self.monitor.start()
        except ServiceError as error:
            log.warning("%s goes on, and is recorded when it ends: %s", self.name, error)

    def finish(self) -> None:
        """Record the stage, and those before it that came from the cache."""
        with connect(self.settings) as client:
            record = open_record(self.settings, client, self.run_id)
            record_cached(record, self.workspace, before=self.name)
            record.log_artifact(self.workspace.folder / "dvc.lock", "")
            record_stage(record, self.workspace, self.name, "ran")

    def stop(self) -> None:
        """Sample the machine no more."""
        if self.monitor:
            self.monitor.finish()
