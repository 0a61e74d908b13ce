"""Every way of changing what was released is found; a rollback goes only to what was released."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.errors import ReleaseError
from pipeline.release.history import list_releases, rollback
from pipeline.release.log_writing import remember, remembered
from pipeline.release.registry import CHAMPION, PREVIOUS
from pipeline.release.release_log import LOGGED_TAG, MOVED_TAG, read_log
from pipeline.release.release_tables import findings_table
from pipeline.release.signing import content_sha256, open_signer
from pipeline.release.verification import Finding, verify_releases
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from tests.conftest import give_store, mode_of, small_disk
from tests.release.conftest import deploy
from tests.release.killing import Counted
from tests.release.runs import CLASSES, Run, make_run, release, restore


@dataclass(frozen=True)
class Registry:
    """Two releases in a store, version 2 the champion."""

    settings: Settings
    client: MlflowClient
    first: Run
    second: Run

    @property
    def name(self) -> str:
        return self.settings.model_name

    def tag(self, key: str, value: str, version: str = "2") -> None:
        self.client.set_model_version_tag(self.name, version, key, value)

    def record(self, number: int = 2) -> dict[str, Any]:
        text = self.client.get_model_version(self.name, f"{number}").tags[f"record.{number:06}"]
        content: dict[str, Any] = json.loads(text)
        return content

    def write(self, document: dict[str, Any], number: int = 2, *, index: bool = False) -> None:
        """Put a record in the place of another one, everywhere; with `index` its hash too."""
        text = json.dumps(document, sort_keys=True)
        self.tag(f"record.{number:06}", text, f"{number}")
        run = (self.first, self.second)[number - 1][0]
        self.client.log_text(run.run_id, text, f"release/{number:06}.json")
        if index:
            key = f"release.{number:06}"
            line = json.loads(self.client.get_registered_model(self.name).tags[key])
            line["sha256"] = content_sha256(document)
            self.client.set_registered_model_tag(self.name, key, json.dumps(line))

    def index(self, **changed: str) -> None:
        """Change what the log says in its second line."""
        key = "release.000002"
        line = json.loads(self.client.get_registered_model(self.name).tags[key])
        text = json.dumps({**line, **changed})
        self.client.set_registered_model_tag(self.name, key, text)

    def stored(self, name: str) -> Path:
        """A file of the second run's model or artifacts."""
        run = self.second[0].run
        (model,) = [
            one
            for one in self.client.search_logged_models([run.info.experiment_id])
            if one.source_run_id == run.info.run_id
        ]
        folders = [Path(model.artifact_location), Path(run.info.artifact_uri)]
        (file,) = [file for folder in folders for file in folder.rglob(name)]
        return file

    def findings(self) -> list[Finding]:
        return list(verify_releases(self.settings, self.client).findings)


@pytest.fixture(scope="module")
def released(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Made once, for it takes seconds."""
    folder = tmp_path_factory.mktemp("released")
    for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_SIGNING_KEY", "LUNGSEG_TRUSTED_KEYS"):
        os.environ.pop(name, None)
    deploy(folder / "deployed")
    settings = Settings(repo=str(folder / "deployed"), home=folder / "home", local=True)
    give_store(settings, store)
    with connect(settings) as client:
        first = make_run(settings, client, folder / "first")
        release(first)
        better = dict.fromkeys(CLASSES, [0.98] * 8)
        second = make_run(settings, client, folder / "second", better, b"second")
        assert release(second).version == "2"
        shutil.copytree(settings.home, folder / "kept")
        yield Registry(settings, client, first, second)


@pytest.fixture
def registry(released: Registry) -> Iterator[Registry]:
    mlflow.set_tracking_uri(released.settings.tracking_uri)
    yield released
    restore(released.settings.home.with_name("kept"), released.settings.home)


def edited_record(registry: Registry) -> None:
    document = registry.record()
    document["facts"]["metrics"]["dice"]["value"] = 0.99
    registry.write(document)


def edited_record_and_hash(registry: Registry) -> None:
    document = registry.record()
    document["facts"]["bounds"]["used"]["min_dice"] = 0.99
    registry.write(document, index=True)


def signed_by_a_stranger(registry: Registry) -> None:
    stranger = open_signer(Settings(home=registry.settings.home / "stranger"))
    registry.write(stranger.sign(registry.record()), index=True)


def unsigned(registry: Registry) -> None:
    document = registry.record()
    del document["signature"]
    registry.write(document, index=True)


def entry_removed(registry: Registry) -> None:
    registry.client.delete_registered_model_tag(registry.name, "release.000001")


def last_release_removed(registry: Registry) -> None:
    """Everything of the second release, as if it had never been."""
    registry.client.delete_registered_model_tag(registry.name, "release.000002")
    registry.client.delete_model_version(registry.name, "2")
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")
    registry.client.delete_registered_model_alias(registry.name, PREVIOUS)


def last_entry_removed(registry: Registry) -> None:
    registry.client.delete_registered_model_tag(registry.name, "release.000002")


def entries_exchanged(registry: Registry) -> None:
    tags = registry.client.get_registered_model(registry.name).tags
    for key, other in (("release.000001", "release.000002"), ("release.000002", "release.000001")):
        registry.client.set_registered_model_tag(registry.name, key, tags[other])


def another_former_champion(registry: Registry) -> None:
    """An entry that this host signed, but that does not follow from the one before."""
    document = {**registry.record(), "before": "0" * 64}
    registry.write(open_signer(registry.settings).sign(document), index=True)


def entry_of_another_model(registry: Registry) -> None:
    document = {**registry.record(), "model": "other"}
    registry.write(open_signer(registry.settings).sign(document), index=True)


def index_says_otherwise(registry: Registry) -> None:
    key = "release.000002"
    line = json.loads(registry.client.get_registered_model(registry.name).tags[key])
    registry.client.set_registered_model_tag(
        registry.name, key, json.dumps({**line, "action": "rollback"})
    )


def alias_moved(registry: Registry) -> None:
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")


def alias_removed(registry: Registry) -> None:
    registry.client.delete_registered_model_alias(registry.name, CHAMPION)


def previous_moved(registry: Registry) -> None:
    registry.client.set_registered_model_alias(registry.name, PREVIOUS, "2")


def champion_deleted(registry: Registry) -> None:
    registry.client.delete_model_version(registry.name, "2")


def earlier_release_deleted(registry: Registry) -> None:
    registry.client.delete_model_version(registry.name, "1")


def version_by_hand(registry: Registry) -> None:
    source = registry.client.get_model_version(registry.name, "2").source
    registry.client.create_model_version(registry.name, source)


def rest_of_a_promotion(registry: Registry) -> None:
    source = registry.client.get_model_version(registry.name, "2").source
    registry.client.create_model_version(registry.name, source, tags={LOGGED_TAG: "x"})


def file_added(registry: Registry) -> None:
    registry.stored("model.onnx").with_name("more.py").write_text("print()")


TAMPERING: dict[str, tuple[Callable[[Registry], object], str, str]] = {
    "edited record": (edited_record, "log", "was changed after it was signed"),
    "edited record and hash": (edited_record_and_hash, "log", "was changed after it was signed"),
    "signed by a stranger": (signed_by_a_stranger, "log", "is signed by an unknown key"),
    "unsigned": (unsigned, "log", "is not signed"),
    "record that is none": (
        lambda one: one.write({"signature": 1}),
        "log",
        "its record has number: Field required",
    ),
    "record that is no JSON": (
        lambda one: one.tag("record.000002", "{"),
        "log",
        "its signed record is missing",
    ),
    "entry removed": (entry_removed, "log", "entry 1 of the log of lung-segmentation is missing"),
    "last entry removed": (last_entry_removed, "log", "entry 2, which this host wrote, is missing"),
    "last release removed": (
        last_release_removed,
        "log",
        "entry 2, which this host wrote, is missing",
    ),
    "entries exchanged": (entries_exchanged, "log", "entry 1 of the log"),
    "another entry before": (another_former_champion, "log", "does not follow the entry before it"),
    "entry of another model": (entry_of_another_model, "log", "is of the model other"),
    "index says otherwise": (
        index_says_otherwise,
        "log",
        "the log and its record differ in action",
    ),
    "index unreadable": (
        lambda one: one.client.set_registered_model_tag(one.name, "release.000002", "{}"),
        "log",
        "its line in the log cannot be read ('{}')",
    ),
    "index names no version": (
        lambda one: one.index(to="x"),
        "log",
        "its line in the log cannot be read",
    ),
    "index names no run, and the version is gone": (
        lambda one: (one.index(run_id="x"), one.client.delete_model_version(one.name, "2")),
        "log",
        "entry 2 of the log of lung-segmentation: its signed record is missing",
    ),
    "a move of before the log": (
        lambda one: one.client.set_registered_model_tag(one.name, "release.2020", "{}"),
        "log",
        "the move 2020 of the champion of lung-segmentation cannot be read",
    ),
    "a forged move of before the log": (
        lambda one: one.client.set_registered_model_tag(
            one.name, "release.2020", '{"action": "promote", "from": null, "to": "1"}'
        ),
        "log",
        "entry 1 of the log of lung-segmentation: does not follow the entry before it",
    ),
    "the mark of the last move": (
        lambda one: one.client.set_registered_model_tag(one.name, MOVED_TAG, "x"),
        "log",
        "a promotion was interrupted",
    ),
    "artifact of a record replaced": (
        lambda one: one.client.log_text(one.second[0].run_id, "{}", "release/000002.json"),
        "entry 000002",
        "the artifact release/000002.json of its run is missing or was changed",
    ),
    "alias moved": (alias_moved, "champion", "the alias points to version 1, and the log of rel"),
    "alias removed": (alias_removed, "champion", "the alias was removed, and the log of releases"),
    "previous moved": (previous_moved, "previous", "the alias points to 2, and the log says 1"),
    "champion deleted": (champion_deleted, "champion", "version 2, which was deleted"),
    "release deleted": (earlier_release_deleted, "version 1", "was released and is deleted"),
    "version by hand": (version_by_hand, "version 3", "was registered by hand and never released"),
    "rest of a promotion": (rest_of_a_promotion, "version 3", "is the rest of an interrupted"),
    "threshold": (
        lambda one: one.tag("threshold", "0.9"),
        "version 2",
        "tag threshold is '0.9', released as '0.5'",
    ),
    "score": (lambda one: one.tag("dice", "0.999"), "version 2", "tag dice is '0.999', rel"),
    "hash of the files": (
        lambda one: one.tag("release_sha256", "0"),
        "version 2",
        "tag release_sha256 is '0', released as",
    ),
    "network replaced": (
        lambda one: one.stored("model.onnx").write_bytes(b"other"),
        "version 2",
        "its file data/network/model.onnx is changed",
    ),
    "code replaced": (
        lambda one: one.stored("predictor.py").write_text("other"),
        "version 2",
        "/inference/predictor.py is changed",
    ),
    "file removed": (
        lambda one: one.stored("model.keras").unlink(),
        "version 2",
        "its file data/network/model.keras is missing",
    ),
    "file added": (file_added, "version 2", "its file data/network/more.py is added"),
    "model removed": (
        lambda one: shutil.rmtree(one.stored("MLmodel").parent),
        "version 2",
        "its file MLmodel is missing",
    ),
    "a strip of the report replaced": (
        lambda one: one.stored("COVID-1.jpg").write_bytes(b"other"),
        "version 2",
        "the artifact report/cases of its run was changed",
    ),
    "report replaced": (
        lambda one: one.stored("report.json").write_bytes(b"other"),
        "version 2",
        "the artifact report of its run was changed",
    ),
    "metrics replaced": (
        lambda one: one.stored("metrics.json").write_text("{}"),
        "version 2",
        "the artifact evaluate/metrics.json of its run was changed",
    ),
    "scores removed": (
        lambda one: one.stored("per_image.parquet").unlink(),
        "version 2",
        "the artifact evaluate/per_image.parquet of its run is missing",
    ),
    "parameters replaced": (
        lambda one: one.stored("params.yaml").write_text("gate: {}"),
        "version 2",
        "the artifact code/params.yaml of its run was changed",
    ),
    "dvc.lock replaced": (
        lambda one: one.stored("dvc.lock").write_text("stages: {}"),
        "version 2",
        "the artifact dvc.lock of its run was changed",
    ),
}


def test_what_was_released_is_found_as_it_was(registry: Registry) -> None:
    found = verify_releases(registry.settings, registry.client)

    assert (found.entries, found.versions, found.findings) == (2, 2, ())


@pytest.mark.parametrize("name", TAMPERING)
def test_each_kind_of_tampering_is_found(registry: Registry, name: str) -> None:
    tamper, where, problem = TAMPERING[name]

    tamper(registry)

    found = registry.findings()
    assert [one for one in found if one.where == where and problem in one.problem], found
    assert findings_table(found).row_count == len(found)


def test_a_log_without_this_hosts_memory_is_verified_all_the_same(registry: Registry) -> None:
    shutil.rmtree(registry.settings.home / "releases")

    assert registry.findings() == []
    last_entry_removed(registry)
    assert Finding("log", "entry 000002, which version 2 has, is missing") in registry.findings()


def test_a_memory_that_cannot_be_read_is_one_line(registry: Registry) -> None:
    memory = registry.settings.home / "releases/lung-segmentation.jsonl"
    memory.write_text("{\n")

    with pytest.raises(ReleaseError, match=r"jsonl: holds a line that is no JSON, expected an ent"):
        remembered(registry.settings, registry.name)


def test_a_memory_keeps_whole_lines_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, "16k") as disk:
        settings = Settings(home=disk)
        remember(settings, "lungs", {"number": 1})

        with pytest.raises(ReleaseError, match=r"lungs.jsonl: No space left on device, expected r"):
            remember(settings, "lungs", {"number": 2, "text": "x" * 20_000})

        assert remembered(settings, "lungs") == [{"number": 1}]
        remember(settings, "lungs", {"number": 3})
        assert remembered(settings, "lungs") == [{"number": 1}, {"number": 3}]
        assert mode_of(disk / "releases/lungs.jsonl") == 0o600


def test_the_records_stay_when_a_version_is_deleted(registry: Registry) -> None:
    champion_deleted(registry)

    log = read_log(registry.client, registry.name, open_signer(registry.settings))

    assert log.problems == ()
    assert log.facts("2")


def test_a_rollback_is_an_entry_of_the_log(registry: Registry) -> None:
    move = rollback(registry.settings, registry.client, None, "Ada")

    log = read_log(registry.client, registry.name, open_signer(registry.settings))
    assert (move.action, move.by, move.from_version, move.to_version) == (
        "rollback",
        "Ada",
        "2",
        "1",
    )
    assert log.champion == log.aliases[CHAMPION] == "1"
    assert log.aliases[PREVIOUS] == "2"
    assert registry.findings() == []


WRITES = {"its line": 3, "the alias previous": 4, "the alias champion": 5, "its end": 6}
"""Of a rollback, with the number of each."""


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("to", [None, "1"])
def test_an_interrupted_rollback_that_is_repeated_goes_to_where_it_went(
    registry: Registry, write: str, to: str | None
) -> None:
    def away(count: int) -> None:
        if count == WRITES[write]:
            raise ConnectionError

    counted: Any = Counted(registry.client, away)
    with pytest.raises(ConnectionError):
        rollback(registry.settings, counted, to, "Ada")

    move = rollback(registry.settings, registry.client, to, "Ada")

    log = read_log(registry.client, registry.name, open_signer(registry.settings))
    assert (move.action, move.from_version, move.to_version) == ("rollback", "2", "1")
    assert log.champion == log.aliases[CHAMPION] == "1"
    assert len(log.entries) == 3
    assert registry.findings() == []
    if to is None:
        assert rollback(registry.settings, registry.client, None, "Ada").to_version == "2"


def test_a_move_that_was_interrupted_is_said_of_the_champion(registry: Registry) -> None:
    def away(count: int) -> None:
        if count == WRITES["the alias champion"]:
            raise ConnectionError

    counted: Any = Counted(registry.client, away)
    with pytest.raises(ConnectionError):
        rollback(registry.settings, counted, None, "Ada")

    _, _, state = list_releases(registry.settings, registry.client)

    assert (state.kind, state.version) == ("released", "1")
    assert state.sentence == (
        "version 1; the alias was not moved to it yet, which the next run or rollback does"
    )


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda one: one.tag("threshold", "0.9", "1"), "its tag threshold is not that of its rel"),
        (
            lambda one: [
                file.write_bytes(b"other") for file in one.settings.home.rglob("model.onnx")
            ],
            "the model folder is not what was recorded",
        ),
        (earlier_release_deleted, "version 1 was deleted; see `lungseg releases`"),
        (edited_record, "entry 2 of the log of lung-segmentation: was changed after it was signed"),
    ],
)
def test_a_rollback_to_what_is_not_as_released_is_refused(
    registry: Registry, tamper: Callable[[Registry], object], message: str
) -> None:
    tamper(registry)

    with pytest.raises(ReleaseError, match=message):
        rollback(registry.settings, registry.client, "1", "Ada")
    champion = registry.client.get_model_version_by_alias(registry.name, CHAMPION)
    assert str(champion.version) == "2"


def test_a_rollback_to_what_was_never_released_is_refused(registry: Registry) -> None:
    version_by_hand(registry)

    with pytest.raises(ReleaseError, match="version 3 was never released; see `lungseg releases`"):
        rollback(registry.settings, registry.client, "3", "Ada")
