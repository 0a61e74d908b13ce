"""A deployment on several hosts: looked at, made ready, backed up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ParamsError
from pipeline.settings import Settings, private_home

app = typer.Typer(no_args_is_help=True, help="A deployment on one or several hosts.")

ROLES = ("all", "control", "worker", "gpu", "client")


@app.command()
def check(
    role: Annotated[str, typer.Option(help=f"What this host does: {', '.join(ROLES)}.")] = "all",
) -> None:
    """Look at every link that this host needs, and say what is wrong and what to do."""
    from pipeline.deployment.check import check_deployment
    from pipeline.deployment.links import check_exit_code

    if role not in ROLES:
        raise ParamsError(f"role {role!r}: unknown, expected one of {', '.join(ROLES)}")
    settings = Settings()
    private_home(settings)
    states = []
    for state in check_deployment(settings, role):  # type: ignore[arg-type]
        typer.echo(f"{state.state:14}{state.name}: {state.text}")
        states.append(state)
    if code := check_exit_code(states):
        raise SystemExit(code)


@app.command()
def init(
    gpus: Annotated[
        int, typer.Option(min=1, help="Trainings at once: slots of a pool `gpu` that is made.")
    ] = 1,
) -> None:
    """Make what is missing: Airflow's tables and pools, the bucket, the experiment."""
    from pipeline.deployment.initialise import initialise

    settings = Settings()
    private_home(settings)
    for line in initialise(settings, gpus):
        typer.echo(line)


@app.command("backup")
def backup_deployment(
    folder: Annotated[Path, typer.Argument(help="A new folder; it will hold secrets.")],
    *,
    objects: Annotated[
        bool, typer.Option("--objects", help="Copy the objects of the DVC remote, too.")
    ] = False,
) -> None:
    """Copy databases, artifacts, keys and the log of releases; the services may run."""
    from pipeline.deployment.backup import back_up

    settings = Settings()
    private_home(settings)
    for line in back_up(settings, folder, objects=objects):
        typer.echo(line)


@app.command("restore")
def restore_deployment(
    folder: Annotated[Path, typer.Argument(help="What `lungseg deploy backup` wrote.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where something is there already.")
    ] = False,
) -> None:
    """Put a backup back, verified; Airflow and MLflow must not run."""
    from pipeline.deployment.restore import restore_backup

    settings = Settings()
    private_home(settings)
    for line in restore_backup(settings, folder, replace=replace):
        typer.echo(line)
