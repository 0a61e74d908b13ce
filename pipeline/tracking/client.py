"""MLflow's client, connected to where the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.certificates import distrusts
from pipeline.errors import LungsegError, RefusedError, ReleaseError, ServiceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def connect(settings: Settings) -> Iterator[MlflowClient]:
    """Yield a client; what MLflow raises in the block leaves it as one line.

    Raises ServiceError when MLflow does not answer, RefusedError when it does not let this host in,
    ReleaseError when it refuses what is asked.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    if settings.local:
        (settings.home / "local").mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(settings.tracking_uri)
    try:
        yield mlflow.MlflowClient()
    except (MlflowException, RequestException) as error:
        raise _problem(f"MLflow at {settings.tracking_uri}", error) from error


def _problem(server: str, error: Exception) -> LungsegError:
    """What an error of MLflow's client, or of the HTTP library below it, means."""
    if distrusts(error):
        return RefusedError(
            f"{server}: its certificate is not trusted; name the authority that signed it by "
            "REQUESTS_CA_BUNDLE"
        )
    said = " ".join(str(error).split())[:300]
    answer = getattr(error, "response", None)  # of an artifact that the server hands out
    status = 0 if answer is None else int(answer.status_code)
    code = getattr(error, "error_code", "INTERNAL_ERROR")
    if status in (401, 403) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return RefusedError(
            f"{server} refuses the log-in or what it may do: {said}; set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD"
        )
    if code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
        return ReleaseError(f"{server}: {error}")
    if status or "failed with error code" in said:  # it answers, and cannot do what it should
        return ServiceError(
            f"{server} failed: {said}; see its log, and that its disk or artifact store is not "
            "full or away"
        )
    return ServiceError(
        f"{server} does not answer ({type(error).__name__}); start it with `lungseg up`, or set "
        "MLFLOW_TRACKING_URI to where it runs"
    )
