from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.deployment.databases import (
    DatabaseState,
    database_state,
    dump_database,
    load_database,
    without_password,
)
from pipeline.errors import DeploymentError, ServiceError
from tests.conftest import free_port

PASSWORD = "p@ss/wörd"


def test_other_kinds_of_databases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="mysql://u@host/x: expected a database of SQLite or"):
        dump_database("mysql://u:secret@host/x", tmp_path / "dump")


def test_no_password_is_shown() -> None:
    assert without_password("postgresql://u:p@h:5/d") == "postgresql://u@h:5/d"
    assert without_password("postgresql://h/d") == "postgresql://h/d"
    assert without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"


@pytest.mark.parametrize("name", ["lung#1", "lung?1", "50%20 off", "ümlaut"])
def test_a_database_is_copied_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with closing(sqlite3.connect(tmp_path / name / "mlflow.db")) as database:
        database.execute("CREATE TABLE mine (x)")

    dump_database(f"sqlite:///{tmp_path / name}/mlflow.db", tmp_path / "dump")

    with closing(sqlite3.connect(tmp_path / "dump")) as copy:
        assert copy.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    assert {path.name for path in tmp_path.iterdir()} == {name, "dump"}


def test_missing_client_of_postgres_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    with pytest.raises(DeploymentError, match="pg_dump: not found; install PostgreSQL's client"):
        dump_database("postgresql://h/d", tmp_path / "dump")


def programs() -> Path:
    """The folder of PostgreSQL's server programs; skips where there are none, or no pg_dump."""
    beside = shutil.which("initdb")
    folders = [Path(beside).parent] if beside else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not shutil.which("pg_dump"):
        pytest.skip("PostgreSQL is not installed: no server to dump here")
    return folders[-1]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server with the user `keeper`; yields the URL of a database without its name."""
    # Not below pytest's own temporary folder, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="lungseg-") as folder:
        yield from serve(Path(folder))


def serve(folder: Path) -> Iterator[str]:
    (folder / "password").write_text(PASSWORD)
    as_user: list[str] = []
    if os.geteuid() == 0:  # which the server refuses to run as
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    bin_, data, port = programs(), folder / "data", free_port()
    secret = ["--username=keeper", f"--pwfile={folder}/password", "--auth=scram-sha-256"]
    init = [*as_user, bin_ / "initdb", f"--pgdata={data}", *secret, "--no-sync", "--encoding=UTF8"]
    made = subprocess.run(init, capture_output=True, cwd=folder, text=True)
    assert made.returncode == 0, made.stderr
    command = [*as_user, bin_ / "postgres", "-D", data, "-p", str(port), "-k", folder, "-F"]
    with subprocess.Popen([*command, "-h", "127.0.0.1"], cwd=folder, stderr=-3) as server:
        ready = ["pg_isready", "--host=127.0.0.1", f"--port={port}", "--timeout=1"]
        for _ in range(60):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
        try:
            yield f"postgresql+psycopg2://keeper:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"
        finally:
            server.terminate()


def run_sql(url: str, *statements: str) -> str:
    options = [f"--command={statement}" for statement in statements]
    target = without_password(url).replace("+psycopg2", "")
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    command = ["psql", "--no-align", "--tuples-only", "--quiet", f"--dbname={target}", *options]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.slow  # a real PostgreSQL
def test_a_database_of_postgres_is_dumped_and_put_back_whole(postgres: str, tmp_path: Path) -> None:
    run_sql(f"{postgres}/postgres", "CREATE DATABASE registry")
    url = f"{postgres}/registry"
    run_sql(url, "CREATE TABLE models (name text PRIMARY KEY)", "INSERT INTO models VALUES ('ä')")
    dump_database(url, tmp_path / "dump")
    run_sql(url, "UPDATE models SET name = 'changed'", "CREATE TABLE later (x int)")
    assert database_state(url) == DatabaseState(tables=2, connections=0)

    load_database(tmp_path / "dump", url)

    assert run_sql(url, "SELECT name FROM models") == "ä"
    assert database_state(url) == DatabaseState(tables=1, connections=0)

    (tmp_path / "broken").write_bytes((tmp_path / "dump").read_bytes()[:-200])
    with pytest.raises(DeploymentError, match=r"pg_restore .*broken: .*; mend that"):
        load_database(tmp_path / "broken", url)
    assert run_sql(url, "SELECT name FROM models") == "ä"


@pytest.mark.slow  # a real PostgreSQL
def test_wrong_password_and_a_silent_server_of_postgres_are_told_apart(
    postgres: str, tmp_path: Path
) -> None:
    wrong = postgres.replace(quote(PASSWORD, safe=""), "wrong")
    with pytest.raises(DeploymentError, match="password authentication failed") as error:
        dump_database(f"{wrong}/postgres", tmp_path / "dump")
    assert "wrong" not in str(error.value)

    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9/x does not answer"):
        dump_database("postgresql://keeper:x@127.0.0.1:9/x", tmp_path / "dump")
