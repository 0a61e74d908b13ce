"""A whole search: by Airflow and followed to its end, or in this process; and what it found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from pipeline.errors import LungsegError
from pipeline.git_command import without_login
from pipeline.run.follow import Run, failure, follow
from pipeline.run.standalone import new_run_id
from pipeline.search.preset import write_preset
from pipeline.search.search_report import BestReport
from pipeline.search.space import Search
from pipeline.search.trial_table import failures, trial_table
from pipeline.search.trials import (
    close_search,
    name_best,
    plan,
    run_search_task,
    search_settings,
)
from pipeline.services import airflow
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest

DAG = "search"


def follow_search(
    settings: Settings, revision: str, overrides: tuple[str, ...], search: Search, out: Path
) -> int:
    """Run the DAG `search`, show it and write the preset `out`.

    The exit code: 0 a best trial was found, 1 failed, 130 no longer followed.
    """
    conf = {"revision": revision, "overrides": list(overrides), "search": search.model_dump()}
    with airflow.log_in(settings) as client:
        run = client.trigger(DAG, conf)
    conclude = partial(_conclude, out)
    return follow(settings, run, dag=DAG, conclude=conclude, kinds={"best": BestReport})


def _conclude(out: Path, run: Run, settings: Settings, console: Console) -> tuple[int, str]:
    if run.state == "failed":
        return 1, failure(run, settings)
    report = run.report("best")
    if not isinstance(report, BestReport):
        return 1, f"failed: the task best left no report; see {run.airflow.url}/dags/{run.dag}"
    return 0, show_result(report, console, out)


def search_standalone(settings: Settings, request: RunRequest, search: Search, out: Path) -> int:
    """Do every task of a search one after the other; a trial that fails is passed over."""
    request = replace(request, run_id=new_run_id("search"), source="lungseg search")
    console = Console()

    try:
        for number in plan(settings, request, search).numbers:
            _try(settings, request, search, number, console)
        best = name_best(search_settings(settings), request, search)
    finally:
        close_search(settings, request.run_id)
    console.print(show_result(best, console, out), markup=False, soft_wrap=True)
    shown = without_login(settings.tracking_uri)
    console.print(f"MLflow store: {shown}", markup=False, soft_wrap=True)
    return 0


def _try(
    settings: Settings, request: RunRequest, search: Search, number: int, console: Console
) -> None:
    try:
        done = run_search_task(settings, request, search, "trial", number)
    except LungsegError as error:
        console.print(f"trial {number}: failed: {error}", markup=False, soft_wrap=True)
    else:
        line = f"trial {number}: {done.status} {done.seconds} s {done.note}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_result(report: BestReport, console: Console, out: Path) -> str:
    """Print the trials, write the preset to `out` and return a closing line."""
    console.print(trial_table(report.goal, report.trials))
    for line in failures(report.trials):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    write_preset(out, report.preset)
    best = report.trials[0]
    return f"best: trial {best.number}, {report.goal} {best.goal:.4f}, written to {out}"
