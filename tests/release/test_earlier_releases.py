"""Releases of earlier versions of this project, whose records say less."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow import MlflowClient

from pipeline.release.gate import run_gate
from pipeline.release.history import list_releases, rollback
from pipeline.release.registry import CHAMPION
from pipeline.release.release_record import ReleaseRecord
from pipeline.release.signing import content_sha256, open_signer
from pipeline.release.verification import verify_releases
from pipeline.settings import Settings
from tests.release.runs import CLASSES, Run, make_run, release

RECORD_0_3_0 = Path(__file__).with_name("record_0_3_0.json")
"""An entry of the log as version 0.3.0 wrote it, without its signature."""
BETTER = dict.fromkeys(CLASSES, [0.98] * 8)
WORSE = dict.fromkeys(CLASSES, [0.955] * 8)


def test_a_record_of_version_0_3_0_is_read() -> None:
    facts = ReleaseRecord.model_validate_json(RECORD_0_3_0.read_text()).facts

    assert facts
    assert facts.bounds.used["min_accuracy"] == 0.9
    assert facts.bounds.note == (
        "lowered: min_accuracy 0.9 instead of 0.95 (allowed by Ada Lovelace)"
    )
    assert (facts.conventions, facts.params_sha256) == (("standard",), "")


def test_a_record_of_a_later_version_is_read() -> None:
    document = json.loads(RECORD_0_3_0.read_text())
    facts = document["facts"]
    for part in (document, facts, facts["approval"], facts["bounds"], facts["checks"][0]):
        part["of_tomorrow"] = 1
    facts["bounds"]["used"]["min_of_tomorrow"] = 0.5

    record = ReleaseRecord.model_validate_json(json.dumps(document))

    assert record.facts
    assert record.facts.checks[0].line == "accuracy 0.9830, required >= 0.9"


def test_a_release_of_version_0_3_0_is_the_champion_to_beat(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    _as_of_0_3_0(settings, client, run)

    assert verify_releases(settings, client).findings == ()
    worse = release(make_run(settings, client, tmp_path / "worse", WORSE, b"worse"))
    better = release(make_run(settings, client, tmp_path / "better", BETTER, b"better"))
    back = rollback(settings, client, None, "Ada")

    assert worse.status == "refused"
    assert better.status == "released"
    assert (back.from_version, back.to_version) == ("2", "1")
    assert verify_releases(settings, client).findings == ()


def _as_of_0_3_0(settings: Settings, client: MlflowClient, run: Run) -> None:
    """Let the one entry of the log have the fields that version 0.3.0 knew, and no others."""
    name, signer = settings.model_name, open_signer(settings)
    document = json.loads(client.get_model_version(name, "1").tags["record.000001"])
    facts, then = document["facts"], json.loads(RECORD_0_3_0.read_text())["facts"]
    assert then.keys() < facts.keys()
    document["facts"] = {key: facts[key] for key in then}
    bounds = document["facts"]["bounds"]
    bounds["used"] = {key: bounds["used"][key] for key in then["bounds"]["used"]}
    signed = signer.sign({key: value for key, value in document.items() if key != "signature"})
    client.set_model_version_tag(name, "1", "record.000001", json.dumps(signed))
    client.log_dict(run[0].run_id, signed, "release/000001.json")
    line = json.loads(client.get_registered_model(name).tags["release.000001"])
    line["sha256"] = content_sha256(signed)
    client.set_registered_model_tag(name, "release.000001", json.dumps(line))
    for memory in settings.home.glob("releases/*"):
        memory.unlink()  # this host remembers the entry as it was


def test_a_release_from_before_the_log_is_the_champion_to_beat(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    name = settings.model_name
    _as_of_before_the_log(settings, client, run)

    worse = release(make_run(settings, client, tmp_path / "worse", WORSE, b"worse"))
    better = release(make_run(settings, client, tmp_path / "better", BETTER, b"better"))
    back = rollback(settings, client, None, "Ada")

    assert worse.status == "refused"
    assert better.status == "released"
    assert (back.from_version, back.to_version, back.by) == ("2", "1", "Ada")
    assert [one.note for one in list_releases(settings, client)[1]] == ["not signed", "", ""]
    assert verify_releases(settings, client).findings == ()
    earlier = json.dumps({"action": "promote", "from": None, "to": "2"})
    client.set_registered_model_tag(name, "release.2025-01-02T03:04:05.000006Z", earlier)
    (found, *_) = verify_releases(settings, client).findings
    assert found.problem.endswith("does not follow the entry before it")


def _as_of_before_the_log(settings: Settings, client: MlflowClient, run: Run) -> None:
    """Make the run's candidate the champion, with a line of the time of the move and no record."""
    name, record = settings.model_name, run[0]
    (model,) = client.search_logged_models([record.run.info.experiment_id])
    evidence = run_gate(*run).candidate
    client.create_registered_model(name)
    client.create_model_version(
        name,
        f"models:/{model.model_id}",
        record.run_id,
        tags={**evidence.hashes, "threshold": "0.5", "gate": "passed"},
        model_id=model.model_id,
    )
    move = json.dumps({"action": "promote", "from": None, "to": "1"})
    client.set_registered_model_tag(name, "release.2026-01-02T03:04:05.000006Z", move)
    client.set_registered_model_alias(name, CHAMPION, "1")
