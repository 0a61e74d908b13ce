from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import LungsegError, ParamsError
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.servers import http_server


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
