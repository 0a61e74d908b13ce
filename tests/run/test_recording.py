from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.run.recording import BY_HAND, run_title, start_record
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import KIND, KIND_TAG, REVISION_TAG, RUN_TAG
from pipeline.workspace.workspace import RunRequest, Workspace
from tests.conftest import PROJECT, give_store

COMMIT = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
BEGAN = datetime(2026, 11, 28, 7, 30, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LOGNAME", "grace")
    settings = Settings(repo=str(tmp_path), home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for name in ("params.yaml", "dvc.yaml", "uv.lock"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    out = {"md5": "0123abcd.dir", "size": 9, "nfiles": 4, "hash": "md5", "path": "data"}
    (tmp_path / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))
    return Workspace(tmp_path, COMMIT, Path(sys.executable))


def leaves(value: Any) -> Iterator[str]:
    for one in value.values():
        yield from leaves(one) if isinstance(one, dict) else [str(one)]


@pytest.mark.parametrize(
    ("request_", "user", "kind"),
    [
        (RunRequest("local__1"), "grace", "LOCAL"),
        (RunRequest("manual:1", user="ada", source="dags/retrain.py"), "ada", "JOB"),
        (RunRequest("scheduled:1", "main", source="dags/retrain.py"), "grace", "JOB"),
        (RunRequest("track__1", "working tree", source=BY_HAND), "grace", "LOCAL"),
    ],
)
def test_a_record_says_who_started_what_and_names_no_place_of_this_machine(
    settings: Settings,
    workspace: Workspace,
    request_: RunRequest,
    user: str,
    kind: str,
) -> None:
    with connect(settings) as client:
        record = start_record(settings, client, request_, workspace)
        data = client.get_run(record.run_id).data
        experiment = client.get_experiment_by_name(settings.experiment)

    tags = data.tags
    assert tags[REVISION_TAG] == COMMIT
    assert tags[RUN_TAG] == request_.run_id
    assert tags["lungseg.revision"] == request_.revision
    assert tags["mlflow.user"] == user
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == (request_.source, kind)
    assert experiment.tags[KIND_TAG] == KIND
    places = (str(workspace.folder), str(workspace.python.parent), str(Path.home()))
    assert not [one for one in leaves({**tags, **data.params}) if one.startswith(places)]


def test_an_experiment_of_an_earlier_version_is_shown_as_training_too(
    settings: Settings, workspace: Workspace
) -> None:
    with connect(settings) as client:
        client.create_experiment(settings.experiment, settings.artifact_location)
        start_record(settings, client, RunRequest("a"), workspace)

        assert client.get_experiment_by_name(settings.experiment).tags[KIND_TAG] == KIND


def test_a_title_tells_what_was_changed_which_commit_and_when() -> None:
    plain = RunRequest("a")
    changed = RunRequest("a", overrides=("train.epochs=3", "augment.image_size=96"))
    filters = RunRequest("a", overrides=(f"train.filters={list(range(99))}", "train.epochs=3"))
    many = RunRequest("a", overrides=tuple(f"train.epochs={number}" for number in range(99)))

    assert run_title(plain, COMMIT, BEGAN) == "a1b2c3d 2026-11-28 07:30:05"
    title = run_title(changed, COMMIT, BEGAN)
    assert title == "epochs=3, image_size=96 a1b2c3d 2026-11-28 07:30:05"
    by_hand = RunRequest("a", source=BY_HAND)
    assert run_title(by_hand, COMMIT, BEGAN) == "by hand a1b2c3d 2026-11-28 07:30:05"
    title = run_title(filters, COMMIT, BEGAN)
    assert title == "filters=…, epochs=3 a1b2c3d 2026-11-28 07:30:05"
    assert len(run_title(many, COMMIT, BEGAN)) < 140
    assert "… a1b2c3d" in run_title(many, COMMIT, BEGAN)
