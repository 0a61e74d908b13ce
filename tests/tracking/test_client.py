from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.settings import Settings
from pipeline.tracking.client import connect


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
