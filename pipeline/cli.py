"""The command `lungseg`: every verb, thin. Heavy imports happen inside the verb that needs them."""

from __future__ import annotations

import errno
import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import LungsegError, ParamsError
from pipeline.files import write_json
from pipeline.params import load_params
from pipeline.settings import Settings

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
    error_file = Settings().error_file
    if error_file:
        write_json(error_file, {"message": line, "exit_code": exit_code})
    typer.echo(f"error: {line}", err=True)
    sys.exit(exit_code)


@app.command()
def stage(name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")]) -> None:
    """Run one stage in this folder (what dvc.yaml calls)."""
    try:
        module = importlib.import_module(f"pipeline.stages.{name}")
    except ModuleNotFoundError:
        known = sorted(path.stem for path in Path(__file__).with_name("stages").glob("[a-z]*.py"))
        raise ParamsError(f"stage {name!r}: unknown, expected one of {', '.join(known)}") from None
    typer.echo(module.run(load_params(Path("params.yaml")), Path()))
