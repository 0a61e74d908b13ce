"""The local MLflow and Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.settings import Settings, private_home

if TYPE_CHECKING:
    from pipeline.services.control import Status

app = typer.Typer()


@app.command()
def up() -> None:
    """Start the local MLflow and Airflow, or use what already runs."""
    from pipeline.services.control import up as start_services

    settings = Settings()
    private_home(settings)
    _show_services(settings, start_services(settings))


@app.command()
def down() -> None:
    """Stop the local MLflow and Airflow, and every task they run."""
    from pipeline.services.control import down as stop_services

    settings = Settings()
    private_home(settings)
    typer.echo(f"stopped {stop_services(settings)} processes")


@app.command()
def status() -> None:
    """Show the local services."""
    from pipeline.services.control import status as service_status

    settings = Settings()
    _show_services(settings, service_status(settings))


def _show_services(settings: Settings, services: Sequence[Status]) -> None:
    from rich.console import Console

    from pipeline.services.airflow_home import account
    from pipeline.services.service_table import service_table

    Console().print(service_table(services))
    typer.echo(f"Airflow: {account(settings)}")
    typer.echo(f"logs: {settings.home / 'logs'}")
