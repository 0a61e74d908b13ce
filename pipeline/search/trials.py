"""The tasks of a search: plan it, run one trial, name the best, close what a killed one left.

A trial is a run of the pipeline through the stage `train`, in a workspace and an MLflow run of its
own; the test split is never looked at. All trials share DVC's cache, so what no trial changes is
computed once, by the plan, whose MLflow run is the trials' parent.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.errors import LungsegError, SearchError, ServiceError
from pipeline.run.recording import record_cached
from pipeline.run.task import (
    FAILURE_TAG,
    close_run,
    finished,
    forget_failure,
    open_workspace,
    run_task,
)
from pipeline.run.task_report import TaskReport
from pipeline.search.outcomes import (
    FAILURE,
    GIVEN,
    Trial,
    Values,
    describe,
    ranked,
    read_trials,
    trial_runs,
)
from pipeline.search.preset import preset_text
from pipeline.search.sampling import propose
from pipeline.search.search_report import BestReport, PlanReport
from pipeline.search.space import Search, assignments, chain, check_search, shared_stages
from pipeline.settings import Settings
from pipeline.stage_graph import stage_names
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import (
    LONGEST_NAME,
    REVISION_TAG,
    STAGE_TAG,
    RunRecord,
    download,
    find_record,
    latest_lock,
    open_record,
)
from pipeline.workspace.workspace import RunRequest, Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

TASKS = ("plan", "trial", "best")


def run_search_task(
    settings: Settings, request: RunRequest, search: Search, name: str, number: int
) -> TaskReport:
    """Do one task of a search; return what a scheduler shows of it, as `run_task` does."""
    started = time.monotonic()
    searches = search_settings(settings)
    report: TaskReport
    if name == "plan":
        report = plan(settings, request, search)
    elif name == "trial":
        report = run_trial(searches, request, search, number)
    else:
        report = name_best(searches, request, search)
    return finished(report, report.run_id, started)


def search_settings(settings: Settings) -> Settings:
    """Settings whose MLflow experiment is that of searches: no retraining starts from a trial."""
    return replace(settings, experiment=f"{settings.experiment}-search")


def plan(settings: Settings, request: RunRequest, search: Search) -> PlanReport:
    """Make the parent run and bring the stages up to date that no trial changes.

    Raises ParamsError for a trial that this revision would refuse.
    """
    searches = search_settings(settings)
    with (
        connect(settings, create=True) as client,
        tempfile.TemporaryDirectory() as temporary,
    ):
        lock = latest_lock(settings, client, Path(temporary))
        workspace = open_workspace(searches, request, lock)
        parent = open_record(searches, client, request.run_id)
        _describe(parent, search)
        try:
            check_search(search, workspace.folder, ())  # the overrides are in its params.yaml
        except LungsegError as error:
            _end(parent, "FAILED", str(error))
            raise
    shared = shared_stages(search, workspace.folder)
    for name in shared:
        run_task(searches, request, name)
    with connect(searches):
        record_cached(parent, workspace, before=_after(workspace, len(shared)))
        if (workspace.folder / "dvc.lock").exists():
            parent.log_artifact(workspace.folder / "dvc.lock", "")
    numbers = tuple(range(search.count))
    return PlanReport(stage="plan", status="planned", run_id=parent.run_id, numbers=numbers)


def _describe(parent: RunRecord, search: Search) -> None:
    text = yaml.safe_dump(search.model_dump(), sort_keys=False, default_flow_style=None)
    names = ", ".join(key.partition(".")[2] for key in search.space)
    title = f"{search.count} trials by {search.method}: {names}"
    parent.client.update_run(parent.run_id, status="RUNNING", name=title[:LONGEST_NAME])
    parent.client.log_text(parent.run_id, text, "search.yaml")
    facts = {"method": search.method, "seed": getattr(search, "seed", None), "goal": search.goal}
    for key, value in {**facts, "trials": search.count}.items():
        if value is not None:
            parent.client.set_tag(parent.run_id, f"lungseg.search.{key}", value)


def _after(workspace: Workspace, count: int) -> str | None:
    """The stage after the first `count`, if there is one."""
    return next(iter(stage_names(workspace.folder)[count:]), None)


def run_trial(settings: Settings, request: RunRequest, search: Search, number: int) -> TaskReport:
    """Run one trial to the end of its training; a second try of it gets the same values.

    Raises what its stages raise; the parent run then has the reason.
    """
    try:
        return _run_trial(settings, request, search, number)
    except LungsegError as error:
        with suppress(ServiceError), connect(settings) as client:
            parent = open_record(settings, client, request.run_id)
            client.set_tag(parent.run_id, f"{FAILURE}{number}", str(error)[:5000])
        raise


def _run_trial(settings: Settings, request: RunRequest, search: Search, number: int) -> TaskReport:
    with connect(settings) as client, tempfile.TemporaryDirectory() as temporary:
        parent = open_record(settings, client, request.run_id)
        trial = Trial(number, give_values(parent, search, number))
        own = RunRequest(
            f"{request.run_id}.{number}",
            parent.run.data.tags[REVISION_TAG],
            (*request.overrides, *assignments(trial.values)),
            parent=parent.run_id,
            title=trial.title,
            user=request.user,
            source=request.source,
        )
        log.info("%s", trial.title)
        workspace = open_workspace(settings, own, _lock(parent, Path(temporary)))
        client.update_run(workspace.mlflow_run_id, status="RUNNING")
        stages, shared = chain(workspace.folder), shared_stages(search, workspace.folder)
        for name in shared:  # the parent has their results; here they would only be repeated
            client.set_tag(workspace.mlflow_run_id, f"{STAGE_TAG}{name}", "shared")
    statuses = {name: run_task(settings, own, name).status for name in stages[len(shared) :]}
    with connect(settings) as client:
        record = open_record(settings, client, own.run_id)
        record_cached(record, workspace, before=_after(workspace, len(stages)))
        record.log_artifact(workspace.folder / "dvc.lock", "")
        forget_failure(record)
        client.set_terminated(record.run_id, "FINISHED")
        done = next(one for one in read_trials(parent, search) if one.number == number)
    note = f"{search.goal} {done.goal:.4f}, {describe(done.values)}"
    status = statuses[stages[-1]]
    return TaskReport(stage="trial", status=status, run_id=record.run_id, note=note)


def _lock(parent: RunRecord, folder: Path) -> Path | None:
    """The dvc.lock of the plan; None if no stage is shared."""
    names = [file.path for file in parent.client.list_artifacts(parent.run_id)]
    return download(parent, "dvc.lock", folder) if "dvc.lock" in names else None


def give_values(parent: RunRecord, search: Search, number: int) -> Values:
    """The values of a trial, kept as a tag of the parent before anything of the trial starts."""
    trials = {trial.number: trial for trial in read_trials(parent, search)}
    if number in trials:
        return trials[number].values
    finished = [(trial.values, trial.goal) for trial in trials.values() if trial.goal is not None]
    unfinished = [trial.values for trial in trials.values() if trial.goal is None]
    values = propose(search, number, finished, unfinished)
    parent.client.set_tag(parent.run_id, f"{GIVEN}{number}", json.dumps(values))
    return values


def name_best(settings: Settings, request: RunRequest, search: Search) -> BestReport:
    """Record the best trial and its preset in the parent run, and end it.

    Raises SearchError when no trial finished.
    """
    with connect(settings) as client:
        parent = open_record(settings, client, request.run_id)
        trials = _all_trials(parent, search)
        best = trials[0]
        if best.goal is None:
            message = f"none of {search.count} trials finished; the first: {best.reason}"
            _end(parent, "FAILED", message)
            raise SearchError(f"search {request.run_id}: {message}")
        preset = preset_text(parent, search, request.overrides, best)
        client.log_text(parent.run_id, preset, "preset.yaml")
        # As a tag: a metric would stand beside the parameters that the search started from.
        client.set_tag(parent.run_id, "lungseg.best", best.title)
        client.set_tag(parent.run_id, "mlflow.note.content", _note(search, trials))
        _end_children(client, trials)
        forget_failure(parent)
        _end(parent, "FINISHED")
    return BestReport(
        stage="best",
        status="found",
        run_id=parent.run_id,
        note=best.title,
        goal=search.goal,
        trials=tuple(trials),
        preset=preset,
    )


def close_search(settings: Settings, run_id: str) -> TaskReport:
    """End the records of a search and of its trials that no task has ended, as failed."""
    searches = search_settings(settings)
    with connect(searches) as client:
        parent = find_record(searches, client, run_id)
        begun = trial_runs(parent) if parent else []
    for trial in begun:
        close_run(searches, trial.info.run_id)
    return close_run(searches, run_id)


def _all_trials(parent: RunRecord, search: Search) -> list[Trial]:
    """Every trial that was planned, the best first."""
    known = {trial.number: trial for trial in read_trials(parent, search)}
    never = "it was never begun; see the log of its task"
    trials = [known.get(number, Trial(number, {}, reason=never)) for number in range(search.count)]
    silent = "it left no reason; see the log of its task"
    return ranked(
        search,
        [
            replace(trial, reason=trial.reason or silent) if trial.goal is None else trial
            for trial in trials
        ],
    )


def _end_children(client: MlflowClient, trials: list[Trial]) -> None:
    """A trial that was killed had nobody to end its run."""
    for trial in trials:
        if trial.goal is None and trial.run_id:
            client.set_terminated(trial.run_id, "FAILED")


def _end(parent: RunRecord, status: str, failure: str = "") -> None:
    if failure:
        parent.client.set_tag(parent.run_id, FAILURE_TAG, failure[:5000])
    parent.client.set_terminated(parent.run_id, status)


def _note(search: Search, trials: list[Trial]) -> str:
    """The ten best trials in Markdown, which MLflow shows as the description of the parent."""
    failed = sum(trial.goal is None for trial in trials)
    finished = [trial for trial in trials if trial.goal is not None]
    rows = [["trial", search.goal, *(key.partition(".")[2] for key in search.space)]]
    rows.append(["---"] * len(rows[0]))
    for trial in finished[:10]:
        values = (json.dumps(trial.values[key]) for key in search.space)
        rows.append([str(trial.number), f"{trial.goal:.4f}", *values])
    head = f"The best of {len(trials)} trials{f', {failed} of which failed' if failed else ''}:"
    return "\n".join([head, "", *(f"| {' | '.join(row)} |" for row in rows)])
