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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from pipeline.artifacts import first_problem
from pipeline.release.registry import CHAMPION, EVENT_TAG
from pipeline.release.release_record import Action, ReleaseFacts, ReleaseRecord, now
from pipeline.release.signing import Verifier, content_sha256
from pipeline.tracking.run_record import find_artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

RECORD_TAG = "record."
LOGGED_TAG = "lungseg.logged"
"""Of a version made by a promotion: without an entry in the log it is the rest of a killed one."""
MOVED_TAG = "lungseg.moved"
"""Of the registered model: the number of the last entry whose alias was moved."""


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

    def next_record(
        self, action: Action, version: str, facts: ReleaseFacts | None, by: str = ""
    ) -> ReleaseRecord:
        """The entry that makes `version` the champion after all others; not signed yet."""
        return ReleaseRecord(
            number=len(self.entries) + 1,
            action=action,
            time=now(),
            model=self.name,
            version=version,
            former=self.champion,
            before=self.head.sha256 if self.head else _origin(self.earlier),
            by=by,
            facts=facts,
        )


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
    moved = tags.get(MOVED_TAG) or ""
    return ReleaseLog(
        name=name,
        entries=entries,
        earlier=tuple(earlier),
        versions=versions,
        aliases=aliases,
        moved=int(moved) if moved.isdecimal() else 0,
        problems=tuple(_problems(name, entries, earlier)),
    )


def _number(key: str) -> int | None:
    number = key.removeprefix(EVENT_TAG)
    return int(number) if len(number) == 6 and number.isdecimal() else None


def entry_name(number: int) -> str:
    """How an entry is called in tags and files, so that names sort as numbers do."""
    return f"{number:06}"


def _earlier(key: str, value: str) -> EarlierMove:
    time = key.removeprefix(EVENT_TAG)
    try:
        event = json.loads(value)
        move = EarlierMove(time, str(event["action"]), event["from"], str(event["to"]))
    except (ValueError, KeyError, TypeError):
        return EarlierMove(time, "", None, "")
    return move if move.version.isdecimal() else EarlierMove(time, "", None, "")


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
        readable = str(line["to"]).isdecimal()
    except (ValueError, KeyError, TypeError):
        readable = False
    if not readable:
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
    before, former = _origin(earlier), earlier[-1].version if earlier else None
    for move in earlier:
        if not move.version:
            yield f"the move {move.time} of the champion of {name} cannot be read"
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


def _origin(earlier: Sequence[EarlierMove]) -> str:
    """What the first entry follows: a hash of the moves before it, which then cannot change."""
    return content_sha256({"moves": [vars(one) for one in earlier]}) if earlier else ""


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
        late = "the alias was not moved to it yet, which the next run or rollback does"
        return ChampionState("released", expected, f"{known}; {late}")
    if expected and expected not in releases.versions and alias is None:
        return ChampionState("deleted", expected, f"{known}, which was deleted")
    found = f"points to version {alias}" if alias else "was removed"
    remedy = "go to a released one with `lungseg rollback --to VERSION`"
    if not releases.released:
        remedy = "remove the alias, for nothing was released"
    return ChampionState(
        "moved", expected, f"the alias {found}, and the log of releases says {known}; {remedy}"
    )
