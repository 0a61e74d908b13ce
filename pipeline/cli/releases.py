"""What was released, and masks by it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import LOCAL
from pipeline.errors import DatasetError, ParamsError, ReleaseError
from pipeline.settings import Settings, account_name, private_home

app = typer.Typer()


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Radiographs, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks and predictions.csv.")],
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS or models:/NAME/VERSION.")] = "",
    level: Annotated[int, typer.Option(min=0, help="Faster part of a U-Net++; 0: all of it.")] = 0,
    convention: Annotated[
        str | None,
        typer.Option(help="Annotation convention of the masks; default: the release's first."),
    ] = None,
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Write a lung mask for every radiograph, by a released model."""
    from pipeline.cli.progress import shown_progress
    from pipeline.serving.masks import Asked, predict_files

    settings = Settings(local=local)
    uri = model or f"models:/{settings.model_name}@champion"
    with shown_progress("radiographs") as progress:
        predictions = predict_files(settings, paths, out, uri, Asked(level, convention), progress)
    if predictions.passed_over:
        typer.echo(predictions.passed_over)
    before = f" ({predictions.before} of them made before)" if predictions.before else ""
    typer.echo(f"{predictions.done} masks{before} in {out}, listed in {out / 'predictions.csv'}")
    if predictions.problems:
        raise DatasetError(
            f"{len(predictions.problems)} radiographs have no mask; first: "
            f"{predictions.problems[0]}",
        )


releases = typer.Typer(
    invoke_without_command=True,
    help="Show the released versions and every move of the champion.",
)
app.add_typer(releases, name="releases")

BY = typer.Option("--by", help="Your name; default: this account's.")
RUN = typer.Argument(help="The run's id, the pipeline's or MLflow's.")


def _person(by: str) -> str:
    """The name given, or that of this account."""
    name = by.strip() or account_name()
    if not name:
        raise ParamsError("--by: this account has no name, expected yours; give it")
    return name


@releases.callback()
def show(context: typer.Context, *, local: Annotated[bool, LOCAL] = False) -> None:
    """Show the released versions and every move of the champion."""
    context.obj = local
    if context.invoked_subcommand:
        return
    from rich.console import Console

    from pipeline.release.history import list_releases
    from pipeline.release.release_tables import release_tables
    from pipeline.tracking.client import connect

    settings = Settings(local=local)
    with connect(settings) as client:
        for table in release_tables(settings.model_name, *list_releases(settings, client)):
            Console().print(table)


@releases.command()
def verify(context: typer.Context, *, local: Annotated[bool, LOCAL] = False) -> None:
    """Compare the registry and its files with the signed log of releases."""
    from rich.console import Console

    from pipeline.release.release_tables import findings_table
    from pipeline.release.verification import verify_releases
    from pipeline.tracking.client import connect

    settings = Settings(local=local or context.obj)
    with connect(settings) as client:
        found = verify_releases(settings, client)
    looked = f"{found.entries} entries and {found.versions} signed versions"
    if found.findings:
        Console().print(findings_table(found.findings))
        raise ReleaseError(
            f"{settings.model_name}: found {len(found.findings)} differences in {looked}, expected "
            "what was released; restore MLflow from a backup, or `lungseg rollback --to VERSION`",
        )
    typer.echo(f"{settings.model_name}: {looked} are as they were released")


@releases.command()
def key() -> None:
    """Print the public key that this host signs with, for LUNGSEG_TRUSTED_KEYS elsewhere."""
    from pipeline.release.signing import open_signer

    settings = Settings()
    private_home(settings)
    typer.echo(open_signer(settings).key)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="The version to go back to.")] = None,
    by: Annotated[str, BY] = "",
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Make the version before the champion, or another one, the champion again."""
    from pipeline.release.history import rollback as roll_back
    from pipeline.tracking.client import connect

    settings = Settings(local=local)
    private_home(settings)
    with connect(settings) as client:
        move = roll_back(settings, client, to, _person(by))
    typer.echo(
        f"{settings.model_name}: champion is version {move.to_version}, was {move.from_version}",
    )


@app.command()
def approve(
    run: Annotated[str, RUN],
    comment: Annotated[str, typer.Option(help="What you looked at.")] = "",
    by: Annotated[str, BY] = "",
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Approve the candidate of a run that waits for it, and release it."""
    from pipeline.run.decision import decide, promote_decided
    from pipeline.run.task_report import PromotionReport

    settings = Settings(local=local)
    private_home(settings)
    decide(settings, run, "approve", _person(by), comment)
    report = PromotionReport.of(promote_decided(settings, run))
    typer.echo(f"{report.status}: {report.reason}")
    raise SystemExit(report.exit_code)


@app.command()
def reject(
    run: Annotated[str, RUN],
    reason: Annotated[str, typer.Option(help="Why it must not be released.")],
    by: Annotated[str, BY] = "",
    *,
    local: Annotated[bool, LOCAL] = False,
) -> None:
    """Reject the candidate of a run that waits for approval."""
    from pipeline.run.decision import decide, promote_decided

    settings = Settings(local=local)
    private_home(settings)
    decide(settings, run, "reject", _person(by), reason)
    outcome = promote_decided(settings, run)
    typer.echo(f"{outcome.status}: {outcome.reason}")
