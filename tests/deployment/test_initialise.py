from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pipeline.deployment import initialise as initialising
from pipeline.deployment.initialise import initialise
from pipeline.errors import DeploymentError, RefusedError, ServiceError
from pipeline.settings import Settings
from tests.servers import make_certificate
from tests.services.test_airflow import Routes, serve
from tests.stores import KEY, SECRET, s3_store

AIRFLOW = """#!{python}
import json, pathlib, sys
file = pathlib.Path({state!r})
pools = json.loads(file.read_text()) if file.exists() else {{"default_pool": 128}}
verb = sys.argv[1:3]
if verb == ["pools", "set"]:
    pools[sys.argv[3]] = int(sys.argv[4])
if verb == ["pools", "list"]:
    print("a plugin says something")
    print(json.dumps([{{"pool": name, "slots": str(slots)}} for name, slots in pools.items()]))
file.write_text(json.dumps(pools))
"""
"""A stand-in for Airflow's command, which keeps pools as that does."""


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A command in the place of Airflow's; returns the file of its pools."""
    script, state = tmp_path / "airflow", tmp_path / "pools.json"
    script.write_text(AIRFLOW.format(python=sys.executable, state=str(state)))
    script.chmod(0o755)
    monkeypatch.setattr(initialising, "program", lambda _: str(script))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://somewhere")
    return state


def test_all_is_made_once_and_what_is_there_is_left(settings: Settings, airflow: Path) -> None:
    airflow.write_text('{"release": 1}')

    assert list(initialise(settings, 3)) == [
        "Airflow's database: has the tables of this version",
        "pool gpu: made, 3 slots",
        "pool release: was there, 1 slots",
        "experiment lung-segmentation: made",
    ]
    assert list(initialise(settings, 5))[1:] == [
        "pool gpu: was there, 3 slots",
        "pool release: was there, 1 slots",
        "experiment lung-segmentation: was there",
    ]
    assert json.loads(airflow.read_text()) == {"release": 1, "gpu": 3}


def test_pools_are_made_by_the_server_where_the_database_is_not_given(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = [{"name": "gpu", "slots": 4}, {"name": "release", "slots": 1}]
    routes: Routes = {"GET pools": {"pools": pools}, "GET pools/gpu": {}, "POST pools": {}}
    monkeypatch.setattr(initialising, "log_in", lambda _: serve(routes))

    assert list(initialise(settings, 1))[:2] == [
        "pool gpu: was there, 4 slots",
        "pool release: made, 1 slots",
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo noise; echo 'OperationalError: no host' >&2; exit 1", "db migrate: OperationalErr"),
        ("exit 1", "airflow db migrate: it wrote nothing; see AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"),
        ("echo nothing", "airflow pools list: 'nothing.*expected a list in JSON"),
    ],
)
def test_command_of_airflow_that_fails_is_one_line(
    settings: Settings, airflow: Path, script: str, said: str
) -> None:
    airflow.with_name("airflow").write_text(f"#!/bin/sh\n{script}\n")

    with pytest.raises(DeploymentError, match=said):
        list(initialise(settings, 1))


def test_missing_command_of_airflow_is_named(settings: Settings, airflow: Path) -> None:
    airflow.with_name("airflow").unlink()

    with pytest.raises(DeploymentError, match=r"airflow: No such file.*call this where Airflow"):
        list(initialise(settings, 1))


@pytest.mark.slow  # a real S3 store, and boto3's tries
def test_bucket_is_made_once_and_a_store_that_refuses_is_named(
    settings: Settings, airflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGSEG_REMOTE", "s3://results/dvc")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_store(tmp_path / "s3") as url:
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", url)
        assert "bucket results: made" in list(initialise(settings, 1))
        assert "bucket results: was there" in list(initialise(settings, 1))
        assert (tmp_path / "s3/results").is_dir()

        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(RefusedError, match=r"bucket results: .*mend the credentials"):
            list(initialise(settings, 1))

    with pytest.raises(ServiceError, match=r"bucket results: .*start the store"):
        list(initialise(settings, 1))

    pem, key = make_certificate(tmp_path)
    with s3_store(tmp_path / "s3", "--cert", str(pem), "--key", str(key)) as url:
        monkeypatch.setenv("LUNGSEG_REMOTE_ENDPOINT", url)
        with pytest.raises(RefusedError, match=r"certificate is not trusted.*AWS_CA_BUNDLE"):
            list(initialise(settings, 1))
