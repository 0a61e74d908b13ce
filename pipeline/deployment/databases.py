"""Copies of databases that are in use: SQLite by its own backup, PostgreSQL by pg_dump."""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pipeline.errors import DeploymentError, ServiceError
from pipeline.files import atomic_path
from pipeline.settings import child_environment

STATE = """
SELECT (SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'),
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid())
"""
"""How many tables a database has, and how many others are connected to it."""
AWAY = ("could not connect", "connection to server", "could not translate host name")


@dataclass(frozen=True)
class DatabaseState:
    """Of a database to be restored: its tables, and who else is connected (-1: not known)."""

    tables: int
    connections: int


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None when the URL is of another kind."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def is_postgres(url: str) -> bool:
    """Whether SQLAlchemy would speak to PostgreSQL."""
    return url.startswith(("postgresql:", "postgresql+", "postgres:"))


def without_password(url: str) -> str:
    """The URL as it may be shown and kept."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    login, _, host = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def dump_database(url: str, file: Path) -> None:
    """Write a consistent copy, also of a database in use.

    Raises ServiceError when the database does not answer, DeploymentError for a kind that is not
    known or a copy that fails.
    """
    source = sqlite_file(url)
    if source is not None:
        _copy_sqlite(source, file)
    else:
        _postgres(url, "pg_dump", "--format=custom", "--no-owner", f"--file={file}")


def _copy_sqlite(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as origin,
            closing(sqlite3.connect(target)) as copy,
        ):
            origin.backup(copy)
            [(said,)] = copy.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.Error as error:
        raise DeploymentError(f"{source}: cannot be copied: {error}; repair the database") from None
    if said != "ok":
        raise DeploymentError(f"{source}: is damaged: {said}; repair the database")


def database_state(url: str) -> DatabaseState:
    """What a restore would meet there."""
    file = sqlite_file(url)
    if file is not None:
        return DatabaseState(int(file.exists()), -1)
    said = _postgres(url, "psql", "--no-align", "--tuples-only", "--field-separator= ", "-c", STATE)
    tables, connections = said.split()
    return DatabaseState(int(tables), int(connections))


def load_database(file: Path, url: str) -> None:
    """Put a copy in the place of the database; all of it, or nothing changes."""
    target = sqlite_file(url)
    if target is None:
        _load_postgres(file, url)
        return
    with atomic_path(target) as partial:
        partial.touch(mode=0o600)
        partial.write_bytes(file.read_bytes())
        for rest in ("-wal", "-shm"):  # of the former one: SQLite would take them for this one's
            target.with_name(f"{target.name}{rest}").unlink(missing_ok=True)


def _load_postgres(file: Path, url: str) -> None:
    """In one transaction, and without what the copy does not have: tables of a later version, say.

    Upgrading again would stumble over those.
    """
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary, "restore.sql")
        _client("pg_restore", ["--no-owner", f"--file={script}", str(file)], {}, str(file))
        afresh = ("--command=DROP SCHEMA public CASCADE", "--command=CREATE SCHEMA public")
        options = ("--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        _postgres(url, "psql", *options, *afresh, f"--file={script}")


def _postgres(url: str, command: str, *arguments: str) -> str:
    """The output of a command of PostgreSQL's client; no password is part of its command line."""
    shown = without_password(url)
    if not is_postgres(url):
        raise DeploymentError(f"{shown}: expected a database of SQLite or PostgreSQL")
    parts = urlsplit(shown)
    password = urlsplit(url).password
    secret = {"PGPASSWORD": unquote(password)} if password else {}
    target = f"--dbname={urlunsplit(parts._replace(scheme='postgresql'))}"
    return _client(command, [target, *arguments], secret, shown)


def _client(command: str, arguments: Sequence[str], secret: dict[str, str], what: str) -> str:
    try:
        done = subprocess.run(
            [command, *arguments],
            env=child_environment(**secret),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        raise DeploymentError(
            f"{command}: not found; install PostgreSQL's client of the server's version or later"
        ) from None
    if done.returncode:
        said = " ".join(done.stderr.split())[:300]
        if any(saying in said for saying in AWAY) and "password" not in said:
            raise ServiceError(f"{what} does not answer: {said}; start it")
        raise DeploymentError(f"{command} {what}: {said}; mend that, then try again")
    return done.stdout
