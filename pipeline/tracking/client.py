"""MLflow's client, connected to where the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError, ServiceError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def connect(settings: Settings) -> Iterator[MlflowClient]:
    """Yield a client; what MLflow raises in the block leaves it as one line.

    Raises ServiceError when MLflow does not answer, ReleaseError when it refuses.
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
        code = getattr(error, "error_code", "INTERNAL_ERROR")
        if code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise ReleaseError(f"MLflow at {settings.tracking_uri}: {error}") from error
        if "failed with error code" in str(error):  # it answers, and cannot do what it should
            said = " ".join(str(error).split())[:300]
            raise ServiceError(
                f"MLflow at {settings.tracking_uri} failed: {said}; see its log, and that its disk "
                "is not full",
            ) from error
        raise ServiceError(
            f"MLflow at {settings.tracking_uri} does not answer ({type(error).__name__}); start it "
            "with `lungseg up`, or set MLFLOW_TRACKING_URI to where it runs",
        ) from error
