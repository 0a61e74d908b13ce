"""What dvc.yaml and Airflow call: one stage, one task of a run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.engine_lines import without_engine_lines
from pipeline.cli.options import ALLOW_LOWERED, FORCE, REVISION, RUN_ID, parse_json
from pipeline.errors import ParamsError
from pipeline.files import atomic_folder, write_sums
from pipeline.parts import EXIT_CODE, StagePart
from pipeline.settings import Settings, make_home, private_home

if TYPE_CHECKING:
    from pipeline.run.task_report import TaskReport
    from pipeline.workspace.workspace import RunRequest

app = typer.Typer()


@app.command()
def stage(name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Run one stage in this folder (what dvc.yaml calls)."""
    from pipeline.params_file import load_params

    stages = Path(__file__).parents[1] / "stages"
    known = sorted(path.stem for path in stages.glob("[a-z]*.py"))
    if name not in known:
        raise ParamsError(f"stage {name!r}: unknown, expected one of {', '.join(known)}")
    module = importlib.import_module(f"pipeline.stages.{name}")
    params = load_params(Path("params.yaml"))
    settings = Settings()
    make_home(settings)  # for checkpoints
    with without_engine_lines():
        parts = settings.parts_of(name)
        if settings.part and parts:
            part = StagePart.parse(settings.part)
            with atomic_folder(parts / part.folder) as folder:
                typer.echo(module.run_part(params, Path(), part, folder))
                write_sums(folder)
            raise SystemExit(EXIT_CODE)
        typer.echo(module.run(params, Path()))


@app.command()
def task(
    name: Annotated[
        str,
        typer.Argument(
            help="A stage, `plan`, `gate`, `approve`, `promote`, `close`; of a search `plan`, "
            "`trial`, `best`, `close`."
        ),
    ],
    run_id: Annotated[str, RUN_ID],
    revision: Annotated[str, REVISION] = "HEAD",
    overrides: Annotated[
        str,
        typer.Option(envvar="LUNGSEG_OVERRIDES", help="JSON list of SECTION.KEY=VALUE."),
    ] = "[]",
    search: Annotated[
        str,
        typer.Option(envvar="LUNGSEG_SEARCH", help="What a search tries, as JSON."),
    ] = "",
    number: Annotated[
        int, typer.Option("--trial", envvar="LUNGSEG_TRIAL", help="Which trial of a search.")
    ] = 0,
    allow_lowered: Annotated[str, ALLOW_LOWERED] = "",
    triggered_by: Annotated[
        str, typer.Option(envvar="LUNGSEG_TRIGGERED_BY", help="Who started the run in Airflow.")
    ] = "",
    part: Annotated[
        str,
        typer.Option(envvar="LUNGSEG_PART", metavar="I/N", help="Which part of a stage, as 2/4."),
    ] = "",
    answer: Annotated[
        str,
        typer.Option(
            envvar="LUNGSEG_ANSWER", help="What a person decided, as JSON, for `approve`."
        ),
    ] = "",
    *,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Do one task of a run in the run's own workspace (what Airflow calls)."""
    from pipeline.workspace.workspace import RunRequest

    name_given = allow_lowered.strip()
    started_by = f" (run started by {triggered_by})" if name_given and triggered_by else ""
    request = RunRequest(
        run_id,
        revision,
        _parse_overrides(overrides),
        force,
        allow_lowered=f"{name_given}{started_by}",
        user=triggered_by.strip(),
        source="dags/search.py" if search else "dags/retrain.py",
    )
    settings = Settings()
    private_home(settings)
    if name == "approve":
        report = _decide(settings, run_id, answer)
    elif search:
        report = _search(settings, request, search, name, number)
    else:
        report = _run(settings, request, name, part)
    typer.echo(report.line)
    if report.exit_code:
        raise SystemExit(report.exit_code)


def _run(settings: Settings, request: RunRequest, name: str, part: str) -> TaskReport:
    from pipeline.run.task import close_run, run_task

    if name == "close":
        closed = close_run(settings, request.run_id)
        return closed if closed.run_id else _close_search(settings, request.run_id)
    return run_task(settings, request, name, StagePart.parse(part) if part else None)


def _search(
    settings: Settings, request: RunRequest, search: str, name: str, number: int
) -> TaskReport:
    from pipeline.search.space import parse_search
    from pipeline.search.trials import run_search_task

    if name == "close":
        return _close_search(settings, request.run_id)
    asked = parse_search(parse_json(search), "search")
    return run_search_task(settings, request, asked, name, number)


def _close_search(settings: Settings, run_id: str) -> TaskReport:
    from pipeline.search.trials import close_search

    return close_search(settings, run_id)


def _decide(settings: Settings, run_id: str, answer: str) -> TaskReport:
    from pipeline.run.decision import decide

    said = parse_json(answer)
    try:
        decision, by, comment, at = (str(said[key]) for key in ("decision", "by", "comment", "at"))
    except (TypeError, KeyError):
        decision = ""
    if decision not in ("approve", "reject"):
        raise ParamsError(f"answer {answer!r}: expected JSON of decision, by, comment and at")
    return decide(
        settings, run_id, "approve" if decision == "approve" else "reject", by, comment, at
    )


def _parse_overrides(text: str) -> tuple[str, ...]:
    overrides = parse_json(text)
    if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
        raise ParamsError(f"overrides {text!r}: expected a JSON list of section.key=value")
    return tuple(overrides)
