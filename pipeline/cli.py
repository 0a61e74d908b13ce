"""The command `lungseg`: every verb, thin. Heavy imports happen inside the verb that needs them."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import DatasetError, LungsegError, ParamsError
from pipeline.files import write_json
from pipeline.params import check_override, load_params, read_assignments
from pipeline.settings import Settings, error_file, quiet_libraries

if TYPE_CHECKING:
    from pipeline.services.services import Status

app = typer.Typer(
    name="lungseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def lungseg() -> None:
    """Versioned, explainable retraining of lung segmentation on chest radiographs."""


def main() -> None:
    """Run the command line; a problem that a person can mend ends it with one line."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    quiet_libraries()
    try:
        app()
    except LungsegError as error:
        _leave(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        _leave(f"{error.filename or 'writing'}: {error.strerror}; nothing was finished", 1)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _leave(message: str, exit_code: int) -> None:
    line = " ".join(message.split())
    target = error_file()
    if target:
        write_json(target, {"message": line, "exit_code": exit_code})
    typer.echo(f"error: {line}", err=True)
    sys.exit(exit_code)


data_app = typer.Typer(no_args_is_help=True, help="The dataset: synthetic, imported, fetched.")
app.add_typer(data_app, name="data")

RUN_ID = typer.Option(envvar="LUNGSEG_RUN_ID", help="The run's id; tasks of one run share it.")
REVISION = typer.Option(envvar="LUNGSEG_REVISION", help="Commit, branch or tag to run.")
SET = typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a parameter for this run.")
PARAMS = typer.Option("--params", help="A YAML file of parameters to change for this run.")
JSON = typer.Option("--json", help="For machines.")
BEST = Path("presets", "best.yaml")
FORCE = typer.Option(envvar="LUNGSEG_FORCE", help="Run every stage again, cached or not.")


@app.command()
def stage(name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Run one stage in this folder (what dvc.yaml calls)."""
    try:
        module = importlib.import_module(f"pipeline.stages.{name}")
    except ModuleNotFoundError:
        known = sorted(path.stem for path in Path(__file__).with_name("stages").glob("[a-z]*.py"))
        raise ParamsError(f"stage {name!r}: unknown, expected one of {', '.join(known)}") from None
    typer.echo(module.run(load_params(Path("params.yaml")), Path()))


@app.command()
def task(
    name: Annotated[
        str,
        typer.Argument(help="A stage, `gate`, `promote`; of a search `plan`, `trial`, `best`."),
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
    *,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Do one task of a run in the run's own workspace (what Airflow calls)."""
    from pipeline.workspace.workspace import RunRequest

    request = RunRequest(run_id, revision, _parse_overrides(overrides), force)
    if search:
        from pipeline.search.space import parse_search
        from pipeline.search.trials import run_search_task

        asked = parse_search(_parse_json(search), "search")
        report = run_search_task(Settings(), request, asked, name, number)
    else:
        from pipeline.run.task import run_task

        report = run_task(Settings(), request, name)
    typer.echo(report.line)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _parse_overrides(text: str) -> tuple[str, ...]:
    overrides = _parse_json(text)
    if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
        raise ParamsError(f"overrides {text!r}: expected a JSON list of section.key=value")
    return tuple(overrides)


@app.command()
def up() -> None:
    """Start the local MLflow and Airflow, or use what already runs."""
    from pipeline.services.services import up as start_services

    _show_services(start_services(Settings()))


@app.command()
def down() -> None:
    """Stop the local MLflow and Airflow, and every task they run."""
    from pipeline.services.services import down as stop_services

    typer.echo(f"stopped {stop_services(Settings())} processes")


@app.command()
def status() -> None:
    """Show the local services."""
    from pipeline.services.services import status as service_status

    _show_services(service_status(Settings()))


def _show_services(services: Sequence[Status]) -> None:
    from rich.console import Console

    from pipeline.services.service_table import service_table

    Console().print(service_table(services))
    typer.echo(f"logs: {Settings().home / 'logs'}")


@app.command()
def retrain(
    revision: Annotated[str, REVISION] = "HEAD",
    assignments: Annotated[list[str] | None, SET] = None,
    params: Annotated[Path | None, PARAMS] = None,
    *,
    force: Annotated[bool, FORCE] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, no services.")] = False,
) -> None:
    """Run the pipeline on a committed revision and follow it to its verdict."""
    from pipeline.workspace.workspace import RunRequest, refuse_uncommitted

    settings = Settings(local=local)
    if revision == "HEAD":
        refuse_uncommitted(settings.repo)
    overrides = _overrides(params, assignments)
    request = RunRequest("", revision, overrides, force)
    if local:
        from pipeline.run.standalone import retrain_standalone

        raise SystemExit(retrain_standalone(settings, request))
    from pipeline.run.follow import follow, start

    raise SystemExit(follow(settings, start(settings, revision, overrides, force)))


def _overrides(params: Path | None, assignments: list[str] | None) -> tuple[str, ...]:
    """What --params and --set change, in this order; raises ParamsError."""
    overrides = (*(read_assignments(params) if params else ()), *(assignments or ()))
    check_override(Path("params.yaml"), overrides)
    return overrides


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="What to try, like presets/search.yaml.")],
    revision: Annotated[str, REVISION] = "HEAD",
    assignments: Annotated[list[str] | None, SET] = None,
    params: Annotated[Path | None, PARAMS] = None,
    out: Annotated[Path, typer.Option(help="Where the best trial goes, for --params.")] = BEST,
    *,
    local: Annotated[bool, typer.Option("--local", help="In this process, no services.")] = False,
) -> None:
    """Train with several parameter sets and keep the one that is best on the validation split."""
    from pipeline.search.space import check_search, load_search
    from pipeline.workspace.workspace import RunRequest, refuse_uncommitted

    settings = Settings(local=local)
    if revision == "HEAD":
        refuse_uncommitted(settings.repo)
    asked = load_search(file)
    overrides = _overrides(params, assignments)
    check_search(asked, Path(), overrides)
    from pipeline.search.launch import follow_search, search_standalone

    if local:
        request = RunRequest("", revision, overrides)
        raise SystemExit(search_standalone(settings, request, asked, out))
    raise SystemExit(follow_search(settings, revision, overrides, asked, out))


@app.command()
def track() -> None:
    """RunRecord results made by hand with `dvc repro` as an MLflow run."""
    from pipeline.run.standalone import track as track_results

    typer.echo(track_results(Settings(), Path.cwd()))


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Radiographs, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks and predictions.csv.")],
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION.")] = "",
    level: Annotated[int, typer.Option(min=0, help="Faster part of a U-Net++; 0: all of it.")] = 0,
) -> None:
    """Write a lung mask for every radiograph, by a released model."""
    from pipeline.serving.files import predict_files

    settings = Settings()
    uri = model or f"models:/{settings.model_name}@champion"
    predictions = predict_files(settings, paths, out, uri, level)
    typer.echo(f"{predictions.done} masks in {out}, listed in {out / 'predictions.csv'}")
    if predictions.problems:
        raise DatasetError(
            f"{len(predictions.problems)} radiographs have no mask; first: "
            f"{predictions.problems[0]}",
        )


@app.command()
def releases() -> None:
    """Show the released versions and every move of the champion."""
    from rich.console import Console

    from pipeline.release.history import list_releases
    from pipeline.release.release_tables import release_tables
    from pipeline.tracking.run_record import connect

    settings = Settings()
    with connect(settings) as client:
        for table in release_tables(settings.model_name, *list_releases(settings, client)):
            Console().print(table)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="The version to go back to.")] = None,
) -> None:
    """Make the version before the champion, or another one, the champion again."""
    from pipeline.release.history import rollback as roll_back
    from pipeline.tracking.run_record import connect

    settings = Settings()
    with connect(settings) as client:
        move = roll_back(settings, client, to)
    typer.echo(
        f"{settings.model_name}: champion is version {move.to_version}, was {move.from_version}",
    )


@data_app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Absent or empty.")],
    pairs: Annotated[int, typer.Option(help="Radiographs with masks to write.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write synthetic radiographs with exact masks, in the database's layout."""
    from pipeline.dataset.synthetic.phantom import write_dataset

    counts = write_dataset(folder, pairs, seed)
    typer.echo(f"{folder}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


@data_app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or zip in the database's layout.")],
    *,
    append: Annotated[bool, typer.Option(help="Add to data/ instead of replacing it.")] = False,
) -> None:
    """Check a delivery, make it the dataset (or a part of it) and record it with DVC."""
    from pipeline.dataset.delivery.importing import import_dataset

    typer.echo(import_dataset(source, Path.cwd(), append).summary())


@data_app.command()
def fetch() -> None:
    """Download the COVID-19 Radiography Database from Kaggle and import it."""
    from pipeline.dataset.delivery.kaggle import fetch_dataset

    typer.echo(fetch_dataset(Path.cwd()).summary())


@data_app.command()
def log(*, as_json: Annotated[bool, JSON] = False) -> None:
    """Show the dataset's versions: the commits that changed data.dvc."""
    from pipeline.dataset.versions.version_tables import log_table
    from pipeline.dataset.versions.versions import describe_versions, list_versions

    settings = Settings(repo=str(Path.cwd()))
    rows = describe_versions(settings, list_versions(Path.cwd()))
    _show([row.model_dump() for row in rows], as_json, lambda: log_table(rows))


@data_app.command()
def diff(
    before: Annotated[str, typer.Argument(help="Commit, branch or tag.")],
    after: Annotated[str | None, typer.Argument(help="Default: data.dvc as it is here.")] = None,
    *,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show what changed between two versions of the dataset, checking nothing out."""
    from pipeline.dataset.versions.difference import compare_versions
    from pipeline.dataset.versions.version_tables import difference_view

    difference = compare_versions(Path.cwd(), before, after)
    _show(difference.summary.model_dump(), as_json, lambda: difference_view(difference))


def _show(content: Any, as_json: bool, view: Callable[[], object]) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(content, indent=2))
    else:
        Console().print(view())
