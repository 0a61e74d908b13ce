"""What was released, and masks by it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import DatasetError
from pipeline.settings import Settings

app = typer.Typer()


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Radiographs, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks and predictions.csv.")],
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION.")] = "",
    level: Annotated[int, typer.Option(min=0, help="Faster part of a U-Net++; 0: all of it.")] = 0,
) -> None:
    """Write a lung mask for every radiograph, by a released model."""
    from pipeline.serving.masks import predict_files

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
    from pipeline.tracking.client import connect

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
    from pipeline.tracking.client import connect

    settings = Settings()
    with connect(settings) as client:
        move = roll_back(settings, client, to)
    typer.echo(
        f"{settings.model_name}: champion is version {move.to_version}, was {move.from_version}",
    )
