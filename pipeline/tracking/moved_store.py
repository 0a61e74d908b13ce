"""MLflow's store without a server, in a folder that was moved or copied with its project.

MLflow writes the whole path of every folder of artifacts into its database. After a move it would
look for the files where they were, and write new ones there.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.errors import ReleaseError

log = logging.getLogger(__name__)

PATHS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
"""Table -> column of a path."""
FORMER = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
HERE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"


def follow_move(database: Path) -> None:
    """Let the database `…/local/mlflow.db` name the artifacts beside it, if it names others.

    Raises ReleaseError when it is no database, or cannot be corrected.
    """
    artifacts = database.parent / "artifacts"
    if not (database.is_file() and database.parent.name == "local" and artifacts.is_dir()):
        return
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            for former in _former(connection, artifacts):
                log.info("%s: its files were in %s before; it follows the move", database, former)
                _rename(connection, former, str(artifacts))
    except sqlite3.Error as error:
        raise ReleaseError(
            f"{database}: {error}, expected MLflow's database, to be read and written; give it to "
            "this user, or restore it from a backup"
        ) from None


def _former(connection: sqlite3.Connection, artifacts: Path) -> list[str]:
    """Where the artifacts are by the database, other than where they are."""
    if not connection.execute(HERE).fetchone()[0]:
        return []
    found = [str(row[0]) for row in connection.execute(FORMER, ("%/local/artifacts",))]
    return [one for one in found if not _is_same(artifacts, Path(one))]


def _is_same(artifacts: Path, former: Path) -> bool:
    try:
        return artifacts.samefile(former)
    except OSError:  # it is not there, or in the folder of another user
        return False


def _rename(connection: sqlite3.Connection, former: str, now: str) -> None:
    for table, column in PATHS.items():
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608  (our names)
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (now, len(former) + 1, former, len(former) + 1, f"{former}/"),
        )
