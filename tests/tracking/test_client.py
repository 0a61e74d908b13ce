from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import LungsegError, ParamsError, RefusedError, ReleaseError, ServiceError
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.conftest import give_store
from tests.servers import http_server


@pytest.fixture
def settings(tmp_path: Path, store: Path) -> Settings:
    """Of a store without a server."""
    settings = Settings(home=tmp_path, local=True)
    give_store(settings, store)
    return settings


@pytest.mark.parametrize(
    "address", ["http:/127.0.0.1:5000", "localhost:5000", "mlruns", "file:///tmp/x", "http://"]
)
def test_an_address_that_mlflow_would_make_a_folder_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    with (
        pytest.raises(ParamsError, match=rf"^MLFLOW_TRACKING_URI={address}: found no server and"),
        connect(Settings(home=tmp_path), create=True),
    ):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["there/mlflow.db", "mlflow.db?timeout=5"])
def test_a_database_is_made_to_begin_a_record_and_never_to_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{place}")
    settings, file = Settings(home=tmp_path), tmp_path / place.partition("?")[0]

    with (
        pytest.raises(ParamsError, match=r"mlflow.db: no such database, expected the one of earl"),
        connect(settings),
    ):
        pass
    assert list(tmp_path.iterdir()) == []

    with connect(settings, create=True) as client:
        client.search_experiments()
    assert file.is_file()
    with connect(settings) as client:
        assert client.search_experiments()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, "no such user"),
        (404, '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}'),
        (500, "full"),
        (None, ""),
    ],
)
def test_a_login_in_the_address_is_in_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int | None, body: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with http_server(lambda *_: (status or 200, body)) as url:
        server = url if status else "http://127.0.0.1:9"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", "//ci:secret@"))

        with (
            pytest.raises(LungsegError, match=f"^MLflow at {server}") as error,
            connect(Settings(home=tmp_path)) as client,
        ):
            client.get_run("abc")

    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["ci:secret@mlflow.example:5000", "http:/ci:secret@host"])
def test_a_login_in_a_wrong_address_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    with pytest.raises(ParamsError) as error, connect(Settings(home=tmp_path)):
        pass

    assert "secret" not in str(error.value)


def refused() -> Exception:
    """As boto3 raises for an upload: of the answer's text alone, with the answer behind it."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError

    content = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = S3UploadFailedError("Failed to upload a.txt to bucket/a.txt: Access Denied")
    error.__context__ = ClientError(content, "PutObject")
    return error


def away() -> Exception:
    from botocore.exceptions import EndpointConnectionError

    return EndpointConnectionError(endpoint_url="http://127.0.0.1:9/bucket")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (refused, RefusedError, "refuses: Failed to upload .* Access Denied; mend its address"),
        (away, ServiceError, r"does not answer: Could not connect .*; start it, or set MLFLOW_S3"),
    ],
)
def test_an_artifact_store_that_the_client_itself_reaches_is_one_line(
    settings: Settings, error: Callable[[], Exception], kind: type[LungsegError], said: str
) -> None:
    with (
        pytest.raises(kind, match=f"^MLflow at sqlite:.*: its artifact store {said}") as raised,
        connect(settings),
    ):
        raise error()

    assert type(raised.value) is kind


def test_an_artifact_store_that_is_really_away_is_worth_a_retry(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")

    with connect(settings) as client:
        run = client.create_run(client.create_experiment("x", "s3://bucket/a")).info.run_id

    told = "its artifact store does not answer: Could not connect"
    with pytest.raises(ServiceError, match=told), connect(settings) as client:
        client.list_artifacts(run)


def test_a_defect_in_the_block_keeps_its_traceback(settings: Settings) -> None:
    with pytest.raises(KeyError), connect(settings):
        raise KeyError("defect")


def test_a_database_that_others_hold_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db?timeout=0.1")
    told = r"^MLflow at sqlite:.*: its database says: database is locked; see that its disk has"

    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as held:
        held.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServiceError, match=told), connect(Settings(home=tmp_path)) as client:
            client.search_experiments()


@pytest.mark.parametrize(
    "words", ["database or disk is full", "attempt to write a readonly database"]
)
def test_a_database_that_cannot_be_written_is_told_in_its_own_words(
    settings: Settings, words: str
) -> None:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    error = OperationalError("INSERT INTO …", {}, sqlite3.OperationalError(words))
    told = rf"^MLflow at sqlite:\S+: its database says: {words}; see that its disk has room"

    with pytest.raises(ServiceError, match=told), connect(settings):
        raise MlflowException(error) from error


def test_a_file_that_is_no_database_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_text("a picture" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    with (
        pytest.raises(ReleaseError, match="its database says: file is not a database, expected M"),
        connect(Settings(home=tmp_path)),
    ):
        pass


def test_a_store_without_a_server_is_never_said_to_be_a_silent_server(settings: Settings) -> None:
    from mlflow.exceptions import MlflowException

    with (
        pytest.raises(ServiceError, match=r"^MLflow at sqlite:.* failed: out-of-date schema; see"),
        connect(settings),
    ):
        raise MlflowException("out-of-date schema")
