"""Room on the disks: what is old and not needed."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.settings import Settings, private_home

app = typer.Typer()


@app.command()
def clean(
    days: Annotated[
        int, typer.Option("--older-than", min=1, metavar="DAYS", help="What was used since stays.")
    ] = 30,
    *,
    store: Annotated[
        bool,
        typer.Option("--store", help="Also in the DVC remote; it must be this project's alone."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without: only show it.")] = False,
) -> None:
    """Remove old workspaces, environments, checkpoints and objects that nothing needs."""
    from pipeline.deployment.clean import plan_cleaning

    settings = Settings()
    private_home(settings)
    plan = plan_cleaning(settings, days, store=store)
    for line in plan.lines():
        typer.echo(line)
    if not plan.leftovers:
        typer.echo("nothing to remove")
    elif yes:
        number, size = plan.carry_out()
        typer.echo(f"removed {number}, {size / 1e6:.1f} MB freed")
    else:
        typer.echo("nothing was removed; --yes does it")
