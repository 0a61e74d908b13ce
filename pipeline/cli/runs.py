"""Runs of the pipeline and searches, followed to their end, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ALLOW_LOWERED, FORCE, LOCAL, PARAMS, REVISION, SET
from pipeline.settings import Settings, private_home

app = typer.Typer()

BEST = Path("presets", "best.yaml")
PAGE = Path("artifacts", "comparison.html")
COMPARED = "A run's id, the pipeline's or MLflow's, a version or an alias such as champion."


@app.command()
def retrain(
    revision: Annotated[str, REVISION] = "HEAD",
    assignments: Annotated[list[str] | None, SET] = None,
    params: Annotated[Path | None, PARAMS] = None,
    *,
    allow_lowered: Annotated[str, ALLOW_LOWERED] = "",
    force: Annotated[bool, FORCE] = False,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Run the pipeline on a committed revision and follow it to its verdict."""
    from pipeline.workspace.revisions import refuse_uncommitted
    from pipeline.workspace.workspace import RunRequest

    settings = Settings(local=local)
    if revision == "HEAD":
        refuse_uncommitted(settings.repo)
    overrides = _overrides(params, assignments)
    request = RunRequest("", revision, overrides, force, allow_lowered=allow_lowered.strip())
    if local:
        from pipeline.run.standalone import retrain_standalone

        private_home(settings)
        raise SystemExit(retrain_standalone(settings, request))
    from pipeline.run.follow import follow, start

    raise SystemExit(follow(settings, start(settings, request)))


def _overrides(params: Path | None, assignments: list[str] | None) -> tuple[str, ...]:
    """What --params and --set change, in this order; raises ParamsError."""
    from pipeline.params_file import check_override, check_params, read_assignments

    overrides = (*(read_assignments(params) if params else ()), *(assignments or ()))
    path = Path("params.yaml")
    check_params(check_override(path, overrides), path)
    return overrides


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="What to try, like presets/search.yaml.")],
    revision: Annotated[str, REVISION] = "HEAD",
    assignments: Annotated[list[str] | None, SET] = None,
    params: Annotated[Path | None, PARAMS] = None,
    out: Annotated[Path, typer.Option(help="Where the best trial goes, for --params.")] = BEST,
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Train with several parameter sets and keep the one that is best on the validation split."""
    from pipeline.search.space import check_search, load_search
    from pipeline.workspace.revisions import refuse_uncommitted
    from pipeline.workspace.workspace import RunRequest

    settings = Settings(local=local)
    if revision == "HEAD":
        refuse_uncommitted(settings.repo)
    asked = load_search(file)
    overrides = _overrides(params, assignments)
    check_search(asked, Path(), overrides)
    from pipeline.search.launch import follow_search, search_standalone
    from pipeline.search.preset import refuse_place

    refuse_place(out)
    if local:
        private_home(settings)
        request = RunRequest("", revision, overrides)
        raise SystemExit(search_standalone(settings, request, asked, out))
    raise SystemExit(follow_search(settings, revision, overrides, asked, out))


@app.command()
def track() -> None:
    """Record results made by hand with `dvc repro` as an MLflow run."""
    from pipeline.run.standalone import track as track_results

    settings = Settings()
    private_home(settings)
    typer.echo(track_results(settings, Path.cwd()))


@app.command()
def compare(
    before: Annotated[str, typer.Argument(metavar="A", help=COMPARED)],
    after: Annotated[str, typer.Argument(metavar="B", help="What it is compared with, likewise.")],
    out: Annotated[Path, typer.Option(help="Where the page with the pictures goes.")] = PAGE,
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Show how the scores of two runs or releases differ on the radiographs both tested."""
    from rich.console import Console

    from pipeline.release.comparing import compare_models
    from pipeline.release.release_tables import comparison_table

    found = compare_models(Settings(local=local), (before, after), Path.cwd(), out)
    console = Console()
    for letter, model in zip("AB", found.paired.models, strict=True):
        console.print(f"{letter}: {model.name} ({model.detail})", markup=False, soft_wrap=True)
    console.print(comparison_table(found.paired))
    for line in (*found.paired.notes, *found.problems, f"page: {out}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
