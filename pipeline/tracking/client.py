"""MLflow's client, connected to where the settings say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import LungsegError, ParamsError, RefusedError, ReleaseError, ServiceError
from pipeline.git_command import without_login
from pipeline.library_errors import causes, distrusts, refuses
from pipeline.settings import Settings
from pipeline.tracking.moved_store import follow_move

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = ("boto3.exceptions", "botocore.exceptions")
DATABASE = ("sqlalchemy.exc",)
"""Modules of the errors of what MLflow's client itself reaches where no server stands before it."""


@contextmanager
def connect(settings: Settings, *, create: bool = False) -> Iterator[MlflowClient]:
    """Yield a client; what MLflow, its artifact store or its database raises leaves it as one line.

    Only with `create`, for what starts a record, a database that is a file is made when it is not
    there. Raises ParamsError for an address that MLflow would take for a new folder or that names
    no database, ServiceError when MLflow, its store or its database does not answer, RefusedError
    when one does not let this host in, ReleaseError when MLflow refuses what is asked or a file is
    no database of its own.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    check_address(settings.tracking_uri)
    _check_database(settings, create=create)
    mlflow.set_tracking_uri(settings.tracking_uri)
    try:
        yield mlflow.MlflowClient()
    except Exception as error:
        if not isinstance(error, (MlflowException, RequestException)) and not _is_of(
            error, *STORE, *DATABASE
        ):
            raise
        raise _problem(f"MLflow at {without_login(settings.tracking_uri)}", error) from error


def check_address(uri: str) -> None:
    """Raise ParamsError for what MLflow would take for a folder, and make: `http:/host`, `host`."""
    scheme, separator, rest = uri.partition("://")
    shown = re.sub("[^/]*@", "", uri)  # also a login that follows no //
    if uri != "databricks" and (not separator or not rest or scheme == "file"):
        raise ParamsError(
            f"MLFLOW_TRACKING_URI={shown}: found no server and no database, expected an address "
            "such as http://127.0.0.1:5000; correct it"
        )


def _check_database(settings: Settings, *, create: bool) -> None:
    """Make the folder of a database that is a file, or raise ParamsError when there is none.

    One that was moved is told where it is.
    """
    kind, _, path = settings.tracking_uri.partition(":///")
    path = path.partition("?")[0]
    if not kind.startswith("sqlite"):
        return
    if Path(path).exists():
        follow_move(Path(path))
        return
    if not create:
        raise ParamsError(
            f"{path}: no such database, expected the one of earlier runs; correct "
            "MLFLOW_TRACKING_URI if it is set, or begin with `lungseg retrain --local`"
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def _problem(server: str, error: Exception) -> LungsegError:
    """What an error of MLflow's client, or of a library below it, means."""
    if distrusts(error):
        return RefusedError(
            f"{server}: its certificate is not trusted; name the authority that signed it by "
            "REQUESTS_CA_BUNDLE"
        )
    said = without_login(" ".join(str(error).split()))[:300]
    if below := _problem_below(server, error, said):
        return below
    answer = getattr(error, "response", None)  # of an artifact that the server hands out
    status = 0 if answer is None else int(answer.status_code)
    code = getattr(error, "error_code", "INTERNAL_ERROR")
    if status in (401, 403) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return RefusedError(
            f"{server} refuses the log-in or what it may do: {said}; set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD"
        )
    if code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
        return ReleaseError(f"{server}: {without_login(str(error))}")
    silent = isinstance(error, OSError) or re.search("failed with (timeout )?exception", said)
    if status or not silent:  # it answers, and cannot do what it should
        return ServiceError(
            f"{server} failed: {said}; see its log, and that its disk or artifact store is not "
            "full or away"
        )
    return ServiceError(
        f"{server} does not answer ({type(error).__name__}); start it with `lungseg up`, or set "
        "MLFLOW_TRACKING_URI to where it runs"
    )


def _problem_below(server: str, error: Exception, said: str) -> LungsegError | None:
    """What an error of the artifact store or the database means; None for one of MLflow's own."""
    if _is_of(error, *STORE):
        if refuses(error):
            return RefusedError(
                f"{server}: its artifact store refuses: {said}; mend its address, bucket or "
                "credentials, then try again"
            )
        return ServiceError(
            f"{server}: its artifact store does not answer: {said}; start it, or set "
            "MLFLOW_S3_ENDPOINT_URL to where it runs"
        )
    database = next((one for one in causes(error) if _is_of(one, *DATABASE)), None)
    words = without_login(" ".join(str(getattr(database, "orig", error)).split()))
    if type(database).__name__ == "OperationalError":
        return ServiceError(
            f"{server}: its database says: {words}; see that its disk has room, that this user may "
            "write there and that nobody else holds it"
        )
    if database is error:
        return ReleaseError(
            f"{server}: its database says: {words}, expected MLflow's own; correct "
            "MLFLOW_TRACKING_URI, or restore it from a backup"
        )
    return None


def _is_of(error: BaseException, *modules: str) -> bool:
    """Whether its class, or one above, is of such a module, which is not imported to know it."""
    return any(kind.__module__ in modules for kind in type(error).__mro__)
