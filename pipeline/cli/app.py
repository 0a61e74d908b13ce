"""The application that the verbs join, and how it ends when something is wrong."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import sys

import typer

from pipeline.cli import cleaning, data, deploy, releases, runs, services, tasks
from pipeline.errors import LungsegError
from pipeline.files import write_json
from pipeline.settings import error_file, keep_docstrings, quiet_libraries, read_secret_files

app = typer.Typer(
    name="lungseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Errors of writing that a person can mend: a full disk, a quota, permissions."""


@app.callback()
def lungseg() -> None:
    """Versioned, explainable retraining of lung segmentation on chest radiographs."""


for verbs in (tasks, services, runs, releases, cleaning):
    app.add_typer(verbs.app)
app.add_typer(data.app, name="data")
app.add_typer(deploy.app, name="deploy")


def main() -> None:
    """Run the command line; a problem that a person can mend ends it with one line."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    quiet_libraries()
    try:
        keep_docstrings()
        read_secret_files()
        app()
    except LungsegError as error:
        _leave(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if not _is_of_an_extra(error):
            raise
        _leave(
            f"{error.name}: not installed; this needs more than predicting does, so install "
            "lungseg[train]",
            1,
        )
    except OSError as error:
        reason = _first_reason(error)
        if reason.errno not in UNWRITABLE:
            raise
        _leave(f"{reason.filename or 'writing'}: {reason.strerror}; nothing was finished", 1)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _first_reason(error: OSError) -> OSError:
    """The error itself; of one that collects those of a folder's files, the first that is known."""
    if not isinstance(error, shutil.Error) or not isinstance(error.args[0], list):
        return error
    words = {os.strerror(code): code for code in UNWRITABLE}  # a copy of a tree keeps only these
    for _, target, text in error.args[0]:
        for word, code in words.items():
            if word in text:
                return OSError(code, word, target)
    return error


def _is_of_an_extra(error: ModuleNotFoundError) -> bool:
    """Whether what is missing is another package, where the extra `train` was not installed."""
    ours = (error.name or "").partition(".")[0] == "pipeline"
    return not ours and importlib.util.find_spec("dvc") is None


def _leave(message: str, exit_code: int) -> None:
    line = " ".join(message.split())
    target = error_file()
    if target:
        write_json(target, {"message": line, "exit_code": exit_code})
    typer.echo(f"error: {line}", err=True)
    sys.exit(exit_code)
