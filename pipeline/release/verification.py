"""Whether MLflow still has what was released: every record, alias, tag, file and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.evaluation.metrics import METRICS_FILE
from pipeline.evaluation.per_image import PER_IMAGE_FILE
from pipeline.evaluation.visual_report import REPORT_FILE, STRIPS, Report
from pipeline.files import sha256_file, sha256_folder
from pipeline.inference.released import remove_leftovers
from pipeline.release.log_writing import remembered
from pipeline.release.registry import PREVIOUS, download_model
from pipeline.release.release_log import (
    LOGGED_TAG,
    RECORD_TAG,
    ReleaseLog,
    champion_state,
    entry_name,
    read_log,
    record_path,
)
from pipeline.release.release_record import ReleaseFacts
from pipeline.release.signing import Verifier, content_sha256, open_verifier
from pipeline.settings import Settings
from pipeline.tracking.run_record import find_artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was released."""

    where: str
    """The log, an alias or a version."""
    problem: str


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what was found."""

    entries: int
    versions: int
    """With a signed record, whose files were hashed again."""
    findings: tuple[Finding, ...]


def verify_releases(settings: Settings, client: MlflowClient) -> Verification:
    """Compare MLflow's registry and artifacts with the signed log of releases."""
    verifier = open_verifier(settings)
    log = read_log(client, settings.model_name, verifier)
    findings = [*_log_findings(settings, log), *_alias_findings(log)]
    for version in sorted(log.released, key=int):
        findings += _version(client, log, version)
    findings += [*_copies(client, log, verifier), *_unreleased(log)]
    signed = [version for version in log.released if log.facts(version)]
    return Verification(len(log.entries), len(signed), tuple(findings))


def _log_findings(settings: Settings, log: ReleaseLog) -> Iterator[Finding]:
    for problem in log.problems:
        yield Finding("log", problem)
    hashes = {entry.sha256 for entry in log.entries}
    for document in remembered(settings, log.name):
        if content_sha256(document) not in hashes:
            yield Finding(
                "log", f"entry {document.get('number')}, which this host wrote, is missing"
            )
    numbers = {entry.number for entry in log.entries}
    for version, found in sorted(log.versions.items()):
        kept = [key.removeprefix(RECORD_TAG) for key in found.tags if key.startswith(RECORD_TAG)]
        for number in kept:
            if not number.isdecimal() or int(number) not in numbers:
                yield Finding("log", f"entry {number}, which version {version} has, is missing")
    if not log.settled and not log.problems:
        yield Finding("log", "a promotion was interrupted; the next run or rollback finishes it")


def _alias_findings(log: ReleaseLog) -> Iterator[Finding]:
    state = champion_state(log)
    if state.kind in ("moved", "deleted"):
        yield Finding("champion", state.sentence)
    previous = log.aliases.get(PREVIOUS)
    expected = log.previous if log.previous in log.versions else None
    if log.settled and previous != expected and expected is not None:
        yield Finding("previous", f"the alias points to {previous}, and the log says {expected}")


def _version(client: MlflowClient, log: ReleaseLog, version: str) -> Iterator[Finding]:
    where, facts, found = f"version {version}", log.facts(version), log.versions.get(version)
    if found is None:
        if version != log.champion:
            yield Finding(where, "was released and is deleted")
        return
    if facts is None:
        return  # of before the log: nothing of it is signed
    changed = [name for name, value in facts.tags.items() if found.tags.get(name) != value]
    if changed:
        yield Finding(
            where,
            f"tag {changed[0]} is {found.tags.get(changed[0])!r}, "
            f"released as {facts.tags[changed[0]]!r}",
        )
    with TemporaryDirectory() as temporary:
        yield from _files(found, facts, where, Path(temporary))
    with TemporaryDirectory() as temporary:
        yield from _artifacts(client, facts, where, Path(temporary))


def _files(
    version: ModelVersion, facts: ReleaseFacts, where: str, folder: Path
) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    try:
        model = download_model(f"models:/{version.name}/{version.version}", folder)
    except (MlflowException, OSError) as error:
        yield Finding(where, f"its model cannot be had ({' '.join(str(error).split())[:120]})")
        return
    remove_leftovers(model)
    files = {
        file.relative_to(model).as_posix(): sha256_file(file)
        for file in model.rglob("*")
        if file.is_file()
    }
    for name in sorted(files.keys() | facts.files.keys()):
        if files.get(name) != facts.files.get(name):
            word = "changed" if name in files and name in facts.files else "missing"
            word = word if name in facts.files else "added"
            yield Finding(where, f"its file {name} is {word}")


def _artifacts(
    client: MlflowClient, facts: ReleaseFacts, where: str, folder: Path
) -> Iterator[Finding]:
    for path, expected in (
        ("report", facts.report_sha256),
        (f"evaluate/{METRICS_FILE.name}", facts.metrics_sha256),
        (f"evaluate/{PER_IMAGE_FILE.name}", facts.per_image_sha256),
        ("dvc.lock", facts.dvc_lock_sha256),
        ("code/params.yaml", facts.params_sha256),
    ):
        if not expected:
            continue  # the version that released it did not record this one
        found = find_artifact(client, facts.run_id, path, folder)
        if found is None:
            yield Finding(where, f"the artifact {path} of its run is missing")
            continue
        sha256 = sha256_folder(found, STRIPS) if found.is_dir() else sha256_file(found)
        if sha256 != expected:
            yield Finding(where, f"the artifact {path} of its run was changed")
        elif found.is_dir() and _strips_changed(found):
            yield Finding(where, f"the artifact {path}/{STRIPS} of its run was changed")


def _strips_changed(report: Path) -> bool:
    """Whether the pictures of all cases are others than an intact report.json says."""
    try:
        expected = Report.read(report / REPORT_FILE.name).strips_sha256
    except StageError:  # of an earlier version, which had none
        return False
    return sha256_folder(report / STRIPS) != expected


def _copies(client: MlflowClient, log: ReleaseLog, verifier: Verifier) -> Iterator[Finding]:
    """The second copy of each entry, among the artifacts of its run."""
    for entry in log.entries:
        if not entry.run_id:
            continue
        with TemporaryDirectory() as temporary:
            name = record_path(entry.number)
            path = find_artifact(client, entry.run_id, name, Path(temporary))
            try:
                document = json.loads(path.read_text(encoding="utf-8")) if path else {}
                good = content_sha256(document) == entry.sha256 and not verifier.problem(document)
            except (ValueError, AttributeError):
                good = False
        if not good:
            where = f"entry {entry_name(entry.number)}"
            yield Finding(where, f"the artifact {name} of its run is missing or was changed")


def _unreleased(log: ReleaseLog) -> Iterator[Finding]:
    for version, found in sorted(log.versions.items(), key=lambda one: int(one[0])):
        if version not in log.released:
            rest = LOGGED_TAG in found.tags
            yield Finding(
                f"version {version}",
                "is the rest of an interrupted promotion; the next one removes it"
                if rest
                else "was registered by hand and never released",
            )
