"""Runs of the pipeline and searches, followed to their end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ALLOW_LOWERED, FORCE, LOCAL, PARAMS, REVISION, SET
from pipeline.settings import Settings, private_home

app = typer.Typer()

BEST = Path("presets", "best.yaml")


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
    from pipeline.workspace.workspace import RunRequest, refuse_uncommitted

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
    from pipeline.params import check_override, read_assignments

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
    local: Annotated[bool, LOCAL] = False,
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
