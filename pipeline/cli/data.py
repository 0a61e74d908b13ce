"""The dataset: synthetic, imported, fetched; its versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.settings import Settings, private_home

app = typer.Typer(no_args_is_help=True, help="The dataset: synthetic, imported, fetched.")

JSON = typer.Option("--json", help="For machines.")


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Absent or empty.")],
    pairs: Annotated[int, typer.Option(help="Radiographs with masks to write.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write synthetic radiographs with exact masks, in the database's layout."""
    from pipeline.dataset.synthetic.phantom import write_dataset

    counts = write_dataset(folder, pairs, seed)
    typer.echo(f"{folder}: {', '.join(f'{name} {count}' for name, count in counts.items())}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or zip in the database's layout.")],
    *,
    append: Annotated[bool, typer.Option(help="Add to data/ instead of replacing it.")] = False,
    code_page: Annotated[
        str | None,
        typer.Option(
            metavar="CODEPAGE",
            help="Of a zip's names that are not UTF-8, such as cp866; default: what they suggest.",
        ),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Annotation convention of all masks that it brings."),
    ] = None,
) -> None:
    """Check a delivery, make it the dataset (or a part of it) and record it with DVC."""
    from pipeline.dataset.delivery.importing import import_dataset

    typer.echo(import_dataset(source, Path.cwd(), append, code_page, convention).summary())


@app.command()
def convention(
    name: Annotated[str, typer.Argument(help="What the convention is called; or standard.")],
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="[PAIR]...", help="CLASS/NAME, or its file.")
    ] = None,
    *,
    list_file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A CSV whose column image_id names pairs."),
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="CLASS", help="Pairs of this class.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Pairs that the last import brought.")] = False,
    instead_of: Annotated[
        str | None, typer.Option(metavar="NAME", help="Pairs that have this convention now.")
    ] = None,
) -> None:
    """Record by hand to which annotation convention masks in data/ are drawn, or confirm it.

    Pairs are named, by PAIR or --from; or all are meant for which --class, --new and --instead-of
    hold. --instead-of alone renames a convention, which confirms no mask.
    """
    from pipeline.dataset.delivery.confirmation import ChosenPairs, confirm_convention

    chosen = ChosenPairs(pairs or (), list_file, classes or (), new, instead_of)
    typer.echo(confirm_convention(Path.cwd(), name, chosen).summary())


@app.command()
def fetch() -> None:
    """Download the COVID-19 Radiography Database from Kaggle and import it."""
    from pipeline.dataset.delivery.kaggle import fetch_dataset

    typer.echo(fetch_dataset(Path.cwd()).summary())


@app.command()
def push(
    revision: Annotated[
        str, typer.Option(help="Commit, branch or tag whose dataset is copied.")
    ] = "HEAD",
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="REMOTE", help="DVC remote that has the data; default: the project's."
        ),
    ] = "",
) -> None:
    """Copy the dataset to the store of a deployment (LUNGSEG_REMOTE)."""
    from pipeline.git_command import without_login
    from pipeline.workspace.dataset_push import push_dataset

    settings = Settings()
    private_home(settings)
    commit = push_dataset(settings, revision, source)
    typer.echo(f"pushed the dataset of {commit[:10]} to {without_login(str(settings.remote))}")


@app.command()
def log(*, as_json: Annotated[bool, JSON] = False) -> None:
    """Show the dataset's versions: the commits that changed data.dvc."""
    from pipeline.dataset.versions.version_tables import log_table
    from pipeline.dataset.versions.versions import describe_versions, list_versions

    settings = Settings(repo=str(Path.cwd()))
    rows = describe_versions(settings, list_versions(Path.cwd()))
    _show([row.model_dump() for row in rows], as_json, lambda: log_table(rows))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="Commit, branch or tag.")],
    after: Annotated[str | None, typer.Argument(help="Default: data.dvc as it is here.")] = None,
    *,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show what changed between two versions of the dataset, checking nothing out."""
    from pipeline.dataset.versions.difference import compare_versions
    from pipeline.dataset.versions.version_tables import difference_view

    private_home(Settings())
    difference = compare_versions(Path.cwd(), before, after)
    _show(difference.summary.model_dump(), as_json, lambda: difference_view(difference))


def _show(content: Any, as_json: bool, view: Callable[[], object]) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(content, indent=2))
    else:
        Console().print(view())
