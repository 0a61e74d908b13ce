"""Writing to the log of releases: one promotion or rollback at a time, finished or undone.

The line in the log is what makes a release. Whoever writes next first undoes what a killed
promotion left before its line, and finishes what one left after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pipeline.errors import OvertakenError, ReleaseError, ServiceError
from pipeline.files import atomic_path
from pipeline.release.registry import CHAMPION, EVENT_TAG, PREVIOUS
from pipeline.release.release_log import (
    LOGGED_TAG,
    MOVED_TAG,
    RECORD_TAG,
    ReleaseLog,
    entry_name,
    read_log,
    record_path,
)
from pipeline.release.release_record import ReleaseRecord
from pipeline.release.signing import Signer, content_sha256
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE_S = 600
"""For which a promotion waits for another one on this host."""


@contextmanager
def release_lock(settings: Settings) -> Iterator[None]:
    """One promotion or rollback at a time on this host; Airflow's pool `release` does it for all.

    Raises ServiceError when another one does not end.
    """
    lock = FileLock(settings.home / "releases" / f"{settings.model_name}.lock")
    lock_file = Path(lock.lock_file)
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        raise ServiceError(
            f"{lock_file}: another promotion or rollback holds it for {PATIENCE_S} s; end it, or "
            "try again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def settle(client: MlflowClient, name: str, signer: Signer) -> ReleaseLog:
    """Undo or finish what a killed promotion left, and return the log; call it under the lock.

    A version without an entry is removed; an entry whose alias was not moved gets it moved. Where
    something is wrong with the log nothing is touched: a version may have lost its entry.
    """
    log = read_log(client, name, signer)
    if log.problems:
        return log
    left = [
        version
        for version, found in log.versions.items()
        if LOGGED_TAG in found.tags and version not in log.released and not _named(log, version)
    ]
    for version in left:
        client.delete_model_version(name, version)
    if log.settled and not left:
        return log
    if not log.settled:
        move_alias(client, log)
    return read_log(client, name, signer)


def _named(log: ReleaseLog, version: str) -> bool:
    """Whether an alias points to the version: then it was released, and its entry is missing."""
    return version in log.aliases.values()


def move_alias(client: MlflowClient, log: ReleaseLog) -> None:
    """Let the aliases follow the newest entry, unless its version was deleted since."""
    head = log.head
    if head is None:
        return
    if head.former in log.versions:
        client.set_registered_model_alias(log.name, PREVIOUS, head.former)
    if head.version in log.versions:
        client.set_registered_model_alias(log.name, CHAMPION, head.version)
    client.set_registered_model_tag(log.name, MOVED_TAG, str(head.number))


def append(
    settings: Settings, client: MlflowClient, signer: Signer, log: ReleaseLog, record: ReleaseRecord
) -> ReleaseLog:
    """Sign and append an entry, move the alias, and read all of it back; under the lock.

    Raises OvertakenError when somebody else wrote in between: then nothing was released.
    """
    from mlflow.exceptions import MlflowException

    document = signer.sign(record.content)
    text = json.dumps(document, sort_keys=True)
    sha256, number = content_sha256(document), entry_name(record.number)
    run_id = record.facts.run_id if record.facts else log.versions[record.version].run_id
    line = {
        "sha256": sha256,
        "action": record.action,
        "from": record.former,
        "to": record.version,
        "run_id": run_id,
    }
    if run_id:
        client.log_text(run_id, text, record_path(record.number))
    try:
        client.set_model_version_tag(log.name, record.version, f"{RECORD_TAG}{number}", text)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise _overtaken(log.name) from None  # another host took the version for a rest
    now = read_log(client, log.name, signer)
    if now.head != log.head or record.version not in now.versions:
        raise _overtaken(log.name)
    client.set_registered_model_tag(log.name, f"{EVENT_TAG}{number}", json.dumps(line))
    appended = read_log(client, log.name, signer)
    if appended.head is None or appended.head.sha256 != sha256:
        raise _overtaken(log.name)
    remember(settings, log.name, document)
    move_alias(client, appended)
    moved = read_log(client, log.name, signer)
    if (
        moved.head is None
        or moved.head.sha256 != sha256
        or moved.aliases.get(CHAMPION) != (record.version)
    ):
        raise _overtaken(log.name)
    return moved


def _overtaken(name: str) -> OvertakenError:
    return OvertakenError(
        f"{name}: another promotion or rollback wrote to its log at the same time, so this one "
        "released nothing; run it again",
    )


def _memory(settings: Settings, name: str) -> Path:
    return settings.home / "releases" / f"{name}.jsonl"


def remember(settings: Settings, name: str, document: Mapping[str, Any]) -> None:
    """Append an entry to what this host knows of the log; raises ReleaseError on a full disk."""
    path = _memory(settings, name)
    line = json.dumps(document, sort_keys=True).encode()
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
        with atomic_path(path) as partial:  # a full disk would leave a part of an appended line
            partial.touch(mode=0o600)
            partial.write_bytes(b"".join(b"%s\n" % one for one in (*lines, line)))
    except OSError as error:
        raise ReleaseError(
            f"{path}: {error.strerror}, expected room for an entry that MLflow has already; make "
            "room, and repeat the command, which finishes what the entry says",
        ) from None


def remembered(settings: Settings, name: str) -> list[dict[str, Any]]:
    """The entries that this host wrote; raises ReleaseError when they cannot be read."""
    path = _memory(settings, name)
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError:
        raise ReleaseError(
            f"{path}: holds a line that is no JSON, expected an entry of the log on each; restore "
            "it from a backup, or remove it: then an entry removed from MLflow is not missed",
        ) from None
