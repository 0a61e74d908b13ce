"""What was released when, and the way back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError
from pipeline.release.log_writing import append, release_lock, settle
from pipeline.release.registry import CHAMPION, fetch_version
from pipeline.release.release_log import (
    ChampionState,
    EarlierMove,
    LogEntry,
    ReleaseLog,
    champion_state,
    read_log,
)
from pipeline.release.signing import open_signer, open_verifier
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleasedVersion:
    """One version of the registered model; empty where it was not released by this project."""

    version: str
    aliases: list[str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Move:
    """One move of the alias `champion`."""

    time: str
    action: str
    from_version: str | None
    to_version: str
    by: str
    """Who approved a release, answers for its lowered bounds, or went back."""
    note: str
    """What is unusual about it; empty when nothing is."""


def list_releases(
    settings: Settings, client: MlflowClient
) -> tuple[list[ReleasedVersion], list[Move], ChampionState]:
    """Return the versions, newest first, the moves of `champion`, oldest first, and its state."""
    log = read_log(client, settings.model_name, open_verifier(settings))
    versions = [
        ReleasedVersion(
            number,
            sorted(alias for alias, version in log.aliases.items() if version == number),
            dict(found.tags),
        )
        for number, found in sorted(log.versions.items(), key=lambda one: int(one[0]), reverse=True)
    ]
    moves = [_earlier_move(one) for one in log.earlier] + [_move(one) for one in log.entries]
    return versions, moves, champion_state(log)


def _earlier_move(move: EarlierMove) -> Move:
    return Move(move.time, move.action, move.former, move.version, "", "not signed")


def _move(entry: LogEntry) -> Move:
    record = entry.record
    facts = record.facts if record else None
    people = [record.by] if record and record.by else []
    if record and record.action == "promote" and facts:
        people += [facts.approval.by] if facts.approval else []
        people += [facts.bounds.allowed_by] if facts.bounds.allowed_by else []
    promoted = facts and record and record.action == "promote"
    note = entry.problem or (facts.bounds.note if promoted and facts else "")
    return Move(
        record.time if record else "",
        entry.action,
        entry.former,
        entry.version,
        ", ".join(dict.fromkeys(people)),
        note,
    )


def rollback(settings: Settings, client: MlflowClient, to: str | None, by: str) -> Move:
    """Make the champion before, or the version `to`, the champion again, in the name of `by`.

    Its files are verified first. One that was interrupted is finished when it is asked for again.
    Raises ReleaseError when it was never released, was deleted or is not what was released.
    """
    name, signer = settings.model_name, open_signer(settings)
    with release_lock(settings):
        interrupted = _interrupted(read_log(client, name, signer))
        releases = settle(client, name, signer)
        if releases.problems:
            raise ReleaseError(f"{releases.problems[0]}; see `lungseg releases verify`")
        if interrupted and to in (None, interrupted.version):
            log.info("the rollback that was interrupted is finished")
            return _move(interrupted)
        target = to or _previous(releases)
        _check_target(releases, target)
        facts, found = releases.facts(target), releases.versions[target]
        recorded = facts.tags if facts else {}
        changed = [key for key, value in recorded.items() if found.tags.get(key) != value]
        if changed:
            raise ReleaseError(
                f"{name} version {target}: its tag {changed[0]} is not that of its release; see "
                "`lungseg releases verify`",
            )
        with TemporaryDirectory() as temporary:
            model = fetch_version(found, Path(temporary), recorded).model
            # Who asks it for another one by MLflow gets its default: releases from before there
            # were several have no such parameter, and MLflow leaves out what it does not know.
            log.info("version %s answers in: %s", target, ", ".join(model.conventions))
            if facts:
                facts = facts.model_copy(update={"conventions": model.conventions})
        record = releases.next_record("rollback", target, facts, by)
        return _move(append(settings, client, signer, releases, record).entries[-1])


def _interrupted(log: ReleaseLog) -> LogEntry | None:
    """The rollback whose alias was not moved; None when there is none to finish."""
    head = log.head
    if head and head.action == "rollback" and not log.settled and head.version in log.versions:
        return head
    return None


def _check_target(log: ReleaseLog, target: str) -> None:
    if not target.isdecimal():
        raise ReleaseError(f"--to {target}: expected the number of a version")
    if target not in log.versions:
        gone = "was deleted" if target in log.released else "is not there"
        raise ReleaseError(f"{log.name}: version {target} {gone}; see `lungseg releases`")
    if target not in log.released:
        raise ReleaseError(
            f"{log.name}: version {target} was never released; see `lungseg releases`"
        )
    if target == log.champion and log.aliases.get(CHAMPION) == target:
        raise ReleaseError(f"{log.name}: version {target} is the champion already")


def _previous(log: ReleaseLog) -> str:
    if log.previous is None:
        raise ReleaseError(
            f"{log.name}: has no version before the champion; see `lungseg releases`"
        )
    return log.previous
