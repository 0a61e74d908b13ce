"""Fetching the COVID-19 Radiography Database from Kaggle."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from pipeline.dataset.delivery.importing import ImportResult, import_dataset
from pipeline.dataset.delivery.swap import check_replaceable, importing
from pipeline.errors import ServiceError

HANDLE = "tawsifurrahman/covid19-radiography-database"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
BY_HAND = f"or download the zip from {PAGE} and run `lungseg data import ZIP`"
CREDENTIALS = (
    "set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY (https://www.kaggle.com/settings)"
)


def fetch_dataset(project: Path) -> ImportResult:
    """Download the database and import it as the dataset of `project`.

    kagglehub keeps the download (0.8 GB) in its cache, so an interrupted one goes on where it
    stopped. Raises ServiceError when Kaggle does not deliver, else as import_dataset does.
    """
    with importing(project):
        check_replaceable(project, append=False)  # before a download that could not be imported
    return import_dataset(_download(), project)


def _download() -> Path:
    # Standard output is for results; kagglehub would print its progress there.
    with redirect_stdout(sys.stderr):
        import kagglehub
        import requests
        from kagglehub import config, exceptions

        try:
            config.get_kaggle_credentials()
        except ValueError as error:
            raise ServiceError(f"Kaggle: {_line(error)}; {CREDENTIALS}, {BY_HAND}") from None
        try:
            with _bounded(requests.adapters.HTTPAdapter):
                return Path(kagglehub.dataset_download(HANDLE))
        except requests.HTTPError as error:
            raise ServiceError(_refusal(error)) from None
        except (
            requests.RequestException,
            exceptions.DataCorruptionError,
            zipfile.BadZipFile,
            ValueError,  # no JSON where an answer should be, no archive where the data should be
        ) as error:
            raise ServiceError(
                f"Kaggle: no complete answer ({_line(error)}); check the network and run again, "
                f"{BY_HAND}",
            ) from None


@contextmanager
def _bounded(adapter: Any) -> Iterator[None]:
    """Give up on a server that is silent: Kaggle's client sends without any timeout."""
    send = adapter.send

    def bounded(self: Any, request: Any, **options: Any) -> Any:
        return send(self, request, **{**options, "timeout": options.get("timeout") or TIMEOUT})

    adapter.send = bounded
    try:
        yield
    finally:
        adapter.send = send


def _refusal(error: Any) -> str:
    status = error.response.status_code if error.response is not None else "no"
    advice = CREDENTIALS if status in (401, 403) else "try again later"
    return f"Kaggle: answered with status {status} for {HANDLE}; {advice}, {BY_HAND}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
