"""The log of releases: signed entries in a chain, which say what the champion is.

MLflow's alias `champion` follows the log. Of each entry there is

- a tag of the registered model, `release.<number>`, with the entry's hash: writing it is what makes
  a release, so a promotion that dies before it is undone and one that dies after it is finished;
- the whole signed entry, as the tag `record.<number>` of the version, and as an artifact of the
  run, which stays when the version is deleted;
- a line in `releases/<model>.jsonl` below the home of the host that wrote it, by which an entry is
  missed that was removed from MLflow altogether.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pipeline.artifacts import first_problem
from pipeline.errors import OvertakenError, ReleaseError, ServiceError
from pipeline.release.registry import CHAMPION, EVENT_TAG, PREVIOUS
from pipeline.release.release_record import ReleaseFacts, ReleaseRecord
from pipeline.release.signing import Signer, Verifier, content_sha256
from pipeline.settings import Settings
from pipeline.tracking.run_record import find_artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

RECORD_TAG = "record."
LOGGED_TAG = "lungseg.logged"
"""Of a version made by a promotion: without an entry in the log it is the rest of a killed one."""
MOVED_TAG = "lungseg.moved"
"""Of the registered model: the number of the last entry whose alias was moved."""
PATIENCE_S = 600
"""For which a promotion waits for another one on this host."""


@dataclass(frozen=True)
class LogEntry:
    """An entry as the registered model lists it, with its record if that can be believed."""

    number: int
    sha256: str
    action: str
    former: str | None
    version: str
    run_id: str
    record: ReleaseRecord | None
    problem: str = ""
    """Why there is no record to believe."""


@dataclass(frozen=True)
class EarlierMove:
    """A move from before there was a log; nothing is signed."""

    time: str
    action: str
    former: str | None
    version: str


@dataclass(frozen=True)
class ReleaseLog:
    """All moves of `champion`, oldest first, and what MLflow has now."""

    name: str
    """Of the registered model."""
    entries: tuple[LogEntry, ...]
    earlier: tuple[EarlierMove, ...]
    versions: Mapping[str, ModelVersion]
    aliases: Mapping[str, str]
    moved: int
    """The number of the last entry whose alias was moved."""
    problems: tuple[str, ...]
    """What keeps the log from being believed; empty when all is well."""

    @property
    def head(self) -> LogEntry | None:
        """The newest entry."""
        return self.entries[-1] if self.entries else None

    @property
    def moves(self) -> list[EarlierMove | LogEntry]:
        """Those from before the log, and its entries."""
        return [*self.earlier, *self.entries]

    @property
    def champion(self) -> str | None:
        """The version that was made the champion last; None when nothing was released."""
        return self.moves[-1].version if self.moves else None

    @property
    def previous(self) -> str | None:
        """The version that was the champion before."""
        return self.moves[-1].former if self.moves else None

    @property
    def released(self) -> frozenset[str]:
        """Every version that ever was the champion."""
        return frozenset(one.version for one in self.moves if one.version)

    @property
    def settled(self) -> bool:
        """Whether the alias was moved for the newest entry."""
        return self.head is None or self.moved >= self.head.number

    def facts(self, version: str) -> ReleaseFacts | None:
        """What was recorded when this version was released; None for one from before the log."""
        found = [
            one.record.facts
            for one in self.entries
            if one.version == version and one.record and one.record.facts
        ]
        return found[-1] if found else None

    def version_of(self, model_sha256: str) -> str | None:
        """The version that was released with this very network; None when there is none."""
        for version in sorted(self.released, key=int, reverse=True):
            facts, found = self.facts(version), self.versions.get(version)
            tag = found.tags.get("model_sha256") if found else None
            if (facts.model_sha256 if facts else tag) == model_sha256:
                return version
        return None


def read_log(client: MlflowClient, name: str, verifier: Verifier) -> ReleaseLog:
    """Read and check the log of the registered model `name`, which may not exist yet."""
    models = client.search_registered_models(f"name = '{name}'")
    tags: Mapping[str, str] = models[0].tags if models else {}
    aliases = {key: str(value) for key, value in models[0].aliases.items()} if models else {}
    found = client.search_model_versions(f"name = '{name}'") if models else []
    versions = {str(one.version): one for one in found}
    indexed = {key: value for key, value in tags.items() if key.startswith(EVENT_TAG)}
    numbered = {key: value for key, value in indexed.items() if _number(key) is not None}
    earlier = [_earlier(key, indexed[key]) for key in sorted(indexed.keys() - numbered.keys())]
    entries = tuple(
        _entry(client, versions, verifier, key, value) for key, value in sorted(numbered.items())
    )
    return ReleaseLog(
        name=name,
        entries=entries,
        earlier=tuple(earlier),
        versions=versions,
        aliases=aliases,
        moved=int(tags.get(MOVED_TAG) or 0),
        problems=tuple(_problems(name, entries, earlier)),
    )


def _number(key: str) -> int | None:
    number = key.removeprefix(EVENT_TAG)
    return int(number) if len(number) == 6 and number.isdigit() else None


def entry_name(number: int) -> str:
    """How an entry is called in tags and files, so that names sort as numbers do."""
    return f"{number:06}"


def _earlier(key: str, value: str) -> EarlierMove:
    event = json.loads(value)
    return EarlierMove(
        key.removeprefix(EVENT_TAG), event["action"], event.get("from"), str(event["to"])
    )


def _entry(
    client: MlflowClient,
    versions: Mapping[str, ModelVersion],
    verifier: Verifier,
    key: str,
    value: str,
) -> LogEntry:
    number = int(key.removeprefix(EVENT_TAG))
    try:
        line = json.loads(value)
        known = {
            "number": number,
            "sha256": str(line["sha256"]),
            "action": str(line["action"]),
            "former": line["from"],
            "version": str(line["to"]),
            "run_id": str(line["run_id"]),
        }
    except (ValueError, KeyError, TypeError):
        problem = f"its line in the log cannot be read ({value[:40]!r})"
        return LogEntry(number, "", "", None, "", "", None, problem)
    document = _document(client, versions, number, known["version"], known["run_id"])
    if document is None:
        return LogEntry(**known, record=None, problem="its signed record is missing")
    try:
        record = ReleaseRecord.model_validate_json(json.dumps(document))
    except ValidationError as error:
        problem = f"its record has {first_problem(error)}"
        return LogEntry(**known, record=None, problem=problem)
    problem = verifier.problem(document) or _differing(known, record, document) or ""
    return LogEntry(**known, record=None if problem else record, problem=problem)


def _differing(
    known: Mapping[str, Any], record: ReleaseRecord, document: Mapping[str, Any]
) -> str | None:
    if content_sha256(document) != known["sha256"]:
        return "its record is not the one whose hash the log has"
    said = {name: getattr(record, name) for name in ("number", "action", "former", "version")}
    differing = [name for name, value in said.items() if value != known[name]]
    return f"the log and its record differ in {differing[0]}" if differing else None


def _document(
    client: MlflowClient,
    versions: Mapping[str, ModelVersion],
    number: int,
    version: str,
    run_id: str,
) -> dict[str, Any] | None:
    """The whole entry: from the version, or from the run when the version is gone."""
    tags = versions[version].tags if version in versions else {}
    text = tags.get(f"{RECORD_TAG}{entry_name(number)}") or _from_run(client, run_id, number)
    try:
        content = json.loads(text) if text else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def record_path(number: int) -> str:
    """Where the entry is among the artifacts of its run."""
    return f"release/{entry_name(number)}.json"


def _from_run(client: MlflowClient, run_id: str, number: int) -> str | None:
    with TemporaryDirectory() as temporary:
        path = find_artifact(client, run_id, record_path(number), Path(temporary))
        return path.read_text(encoding="utf-8") if path else None


def _problems(
    name: str, entries: Sequence[LogEntry], earlier: Sequence[EarlierMove]
) -> Iterator[str]:
    before, former = "", earlier[-1].version if earlier else None
    for place, entry in enumerate(entries, start=1):
        if entry.number != place:
            yield f"entry {place} of the log of {name} is missing"
            return  # what follows is shifted
        if entry.problem:
            yield f"entry {place} of the log of {name}: {entry.problem}"
        elif entry.record and entry.record.before != before:
            yield f"entry {place} of the log of {name}: does not follow the entry before it"
        elif entry.record and entry.record.model != name:
            yield f"entry {place} of the log of {name}: is of the model {entry.record.model}"
        elif entry.former != former:
            yield f"entry {place} of the log of {name}: its former champion was not the champion"
        before, former = entry.sha256, entry.version


@dataclass(frozen=True)
class ChampionState:
    """What the log says of the champion, against what MLflow has."""

    kind: Literal["none", "released", "deleted", "moved"]
    version: str | None
    """As the log has it."""
    sentence: str
    """For people; what to do where something must be done."""


def champion_state(releases: ReleaseLog) -> ChampionState:
    """Whether there is a champion, it was deleted, or its alias was moved by somebody else."""
    expected, alias = releases.champion, releases.aliases.get(CHAMPION)
    known = f"version {expected}" if expected else "nothing was released yet"
    if alias == expected:
        return ChampionState("released" if expected else "none", expected, known)
    if expected in releases.versions and not releases.settled:  # a promotion is about to move it
        return ChampionState("released", expected, known)
    if expected and expected not in releases.versions and alias is None:
        return ChampionState("deleted", expected, f"{known}, which was deleted")
    found = f"points to version {alias}" if alias else "was removed"
    remedy = "go to a released one with `lungseg rollback --to VERSION`"
    if not releases.released:
        remedy = "remove the alias, for nothing was released"
    return ChampionState(
        "moved", expected, f"the alias {found}, and the log of releases says {known}; {remedy}"
    )


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

    A version without an entry is removed; an entry whose alias was not moved gets it moved.
    """
    log = read_log(client, name, signer)
    left = [
        version
        for version, found in log.versions.items()
        if LOGGED_TAG in found.tags and version not in log.released and not _named(log, version)
    ]
    for version in left:
        client.delete_model_version(name, version)
    if log.problems or (log.settled and not left):
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
    """Append an entry to what this host knows of the log."""
    path = _memory(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("ab", buffering=0) as file:  # one write: a kill leaves no half of a line
        file.write(f"{json.dumps(document, sort_keys=True)}\n".encode())


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
