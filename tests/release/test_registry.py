"""Run record, gate, promotion and rollback against a real MLflow store."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from PIL import Image

from pipeline.errors import RefusedError, ReleaseError, ServiceError, StageError
from pipeline.files import read_json
from pipeline.inference.model_files import MODEL_FILES
from pipeline.params import Params
from pipeline.release.gate import run_gate
from pipeline.release.history import list_releases, rollback
from pipeline.release.promotion import run_promotion
from pipeline.release.registry import (
    CHAMPION,
    PREVIOUS,
    aliased_version,
    fetch_version,
)
from pipeline.release.release_tables import release_tables
from pipeline.run.recording import record_cached, record_stage
from pipeline.serving.masks import Asked, predict_files
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import (
    RunRecord,
    download,
    find_record,
    latest_lock,
    open_record,
)
from pipeline.workspace.workspace import Workspace
from tests.release.runs import CLASSES, make_run, release


def test_a_run_from_the_cache_is_recorded_whole(run: tuple[RunRecord, Workspace]) -> None:
    record, _ = run
    found = record.client.get_run(record.run_id)

    metrics = found.data.metrics
    history = record.client.get_metric_history(record.run_id, "val_loss")
    assert metrics["test/classes/COVID/dice"] == pytest.approx(0.97, abs=0.005)
    assert metrics["split/classes/COVID/test"] == 8
    assert metrics["data/pairs"] == 16
    assert [(point.step, point.value) for point in history] == [(1, 0.4), (2, 0.3)]
    assert found.inputs.dataset_inputs[0].dataset.digest == "0123abcd.dir"
    assert found.data.params["train.loss"] == "binary_crossentropy"
    assert set(record.recorded().values()) == {"cached"}


@pytest.mark.slow
def test_recording_twice_changes_nothing(run: tuple[RunRecord, Workspace]) -> None:
    record, workspace = run

    record_stage(record, workspace, "train", "cached")

    models = record.client.search_logged_models([record.run.info.experiment_id])
    assert len(models) == 1
    assert len(record.client.get_metric_history(record.run_id, "val_loss")) == 2


@pytest.mark.slow
def test_the_logged_model_has_a_signature_and_a_short_list_of_requirements(
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    record, _ = run
    model = record.client.search_logged_models([record.run.info.experiment_id])[0]

    folder = Path(
        mlflow.artifacts.download_artifacts(
            f"models:/{model.model_id}", dst_path=str(tmp_path / "m")
        )
    )

    requirements = (folder / "requirements.txt").read_text().split()
    assert "tensor-spec" in (folder / "MLmodel").read_text()
    assert len(requirements) < 10
    assert not [line for line in requirements if "airflow" in line]


def test_a_passing_candidate_is_released_with_its_evidence(
    run: tuple[RunRecord, Workspace],
) -> None:
    record, _ = run

    outcome = release(run)

    champion = aliased_version(record.client, record.settings.model_name, CHAMPION)
    assert outcome.status == "released"
    assert outcome.version == "1"
    assert outcome.metrics["dice"] == pytest.approx(0.97, abs=0.005)
    assert champion
    assert champion.tags["data_md5"] == "0123abcd.dir"
    assert champion.tags["revision"] == "c0ffee"
    assert champion.tags["threshold"] == "0.5"
    assert record.client.get_run(record.run_id).info.status == "FINISHED"
    verdict = read_json(download(record, "gate/verdict.json", record.settings.home))
    assert verdict["passed"] is True
    for name in ("model_sha256", "release_sha256"):
        assert verdict["candidate"][name] == champion.tags[name]


@pytest.mark.slow
def test_the_same_model_is_not_released_twice(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    release(run)

    again = release(make_run(settings, client, tmp_path / "second"))

    assert again.status == "unchanged"
    assert again.reason == "version 1 is this very model"
    assert len(client.search_model_versions(f"name = '{settings.model_name}'")) == 1


def test_a_refused_candidate_changes_nothing_in_the_registry(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    release(run)
    worse = {"COVID": [0.93] * 8, "Normal": [0.99] * 8}

    second = make_run(settings, client, tmp_path / "second", worse, b"other weights")
    outcome = release(second)

    champion = aliased_version(client, settings.model_name, CHAMPION)
    tags = client.get_run(second[0].run_id).data.tags
    assert (outcome.status, outcome.reason) == (
        "refused",
        "failed dice_vs_champion_COVID, dice_vs_best_COVID",
    )
    assert champion
    assert str(champion.version) == "1"
    assert "dice_vs_champion_COVID -0.0" in tags["gate.reasons"]
    assert tags["release"] == "refused"


def test_a_better_candidate_moves_the_champion_and_keeps_the_previous(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    release(run)
    better = dict.fromkeys(CLASSES, [0.98] * 8)

    release(make_run(settings, client, tmp_path / "second", better, b"other weights"))

    releases, moves, state = list_releases(settings, client)
    assert [(one.version, one.aliases) for one in releases] == [
        ("2", [CHAMPION]),
        ("1", [PREVIOUS]),
    ]
    assert [(one.action, one.from_version, one.to_version) for one in moves] == [
        ("promote", None, "1"),
        ("promote", "1", "2"),
    ]
    assert [table.row_count for table in release_tables("lungs", releases, moves, state)] == [2, 2]


@pytest.mark.slow
def test_a_verdict_against_a_replaced_champion_is_judged_again(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    slow = make_run(settings, client, tmp_path / "slow", None, b"slow weights")
    run_gate(*slow)
    much_better = make_run(
        settings, client, tmp_path / "fast", dict.fromkeys(CLASSES, [0.99] * 8), b"fast"
    )
    release(much_better)

    outcome = run_promotion(*slow)

    assert outcome.status == "refused"
    assert "dice_vs_champion" in outcome.reason


@pytest.mark.slow
def test_rollback_goes_back_and_forth_and_refuses_what_is_not_there(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(ReleaseError, match="has no version before the champion"):
        rollback(settings, client, None, "Ada")
    release(run)
    better = dict.fromkeys(CLASSES, [0.98] * 8)
    release(make_run(settings, client, tmp_path / "second", better, b"other weights"))

    move = rollback(settings, client, None, "Ada")

    champion = aliased_version(client, settings.model_name, CHAMPION)
    assert (move.action, move.from_version, move.to_version) == ("rollback", "2", "1")
    assert "version 1 answers in: standard" in caplog.text
    assert champion
    assert str(champion.version) == "1"
    assert rollback(settings, client, "2", "Ada").to_version == "2"
    with pytest.raises(ReleaseError, match="version 2 is the champion already"):
        rollback(settings, client, "2", "Ada")
    with pytest.raises(ReleaseError, match="version 7 is not there; see `lungseg releases`"):
        rollback(settings, client, "7", "Ada")
    with pytest.raises(ReleaseError, match="--to newest: expected the number of a version"):
        rollback(settings, client, "newest", "Ada")


@pytest.mark.slow
def test_an_alias_whose_version_is_gone_is_one_line(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release(run)
    monkeypatch.setattr(client, "search_model_versions", lambda _: [])

    with pytest.raises(ReleaseError, match="alias champion points to version 1, which is gone"):
        aliased_version(client, settings.model_name, CHAMPION)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_swapped_model_file_is_refused_before_it_is_opened(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
    name: str,
) -> None:
    release(run)
    for stored in settings.home.rglob(name):
        stored.write_bytes(b"swapped")
    champion = aliased_version(client, settings.model_name, CHAMPION)
    assert champion

    with pytest.raises(ReleaseError, match="the model folder is not what was recorded"):
        fetch_version(champion, tmp_path)


@pytest.mark.slow
def test_a_released_network_segments_files_whole_and_by_level(
    settings: Settings,
    client: MlflowClient,
    params: Params,
    tmp_path: Path,
) -> None:
    import keras

    from pipeline.inference.predictor import Predictor
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network
    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(0)  # some networks call nothing lung, which no gate lets pass
    small = {"filters": [4, 6, 8], "deep_supervision": True}
    network = build_unetpp(32, params.train.model_copy(update=small))
    save_network(network, tmp_path / "model.keras")
    export_network(network, tmp_path / "model.onnx")
    files = {name: (tmp_path / name).read_bytes() for name in MODEL_FILES}
    run = make_run(settings, client, tmp_path / "first", None, files)
    assert release(run).status == "released"
    radiograph = np.random.default_rng(0).integers(0, 256, (80, 100), np.uint8)
    Image.fromarray(radiograph).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    for level in (0, 1, 2):
        out = tmp_path / f"out-{level}"
        predict_files(settings, [tmp_path / "radiograph.png"], out, uri, Asked(level))
        (lung,) = Predictor(tmp_path / "model.onnx", level).predict([radiograph])
        mask = np.asarray(Image.open(out / "radiograph.png"))
        np.testing.assert_array_equal(mask, 255 * (lung >= 0.5))
    with pytest.raises(StageError, match=r"found no level 3, expected 0 .* to 2"):
        predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri, Asked(3))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/lung-segmentation@champion", "nothing released under it"),
        ("models:/lung-segmentation/3", "nothing released under it"),
        ("models:/lung-segmentation/latest", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("s3://bucket/model", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
    ],
)
def test_an_address_without_a_release_is_one_line(
    settings: Settings,
    client: MlflowClient,
    uri: str,
    message: str,
    tmp_path: Path,
) -> None:
    radiograph = tmp_path / "radiograph.png"
    radiograph.touch()

    with pytest.raises(ReleaseError, match=message):
        predict_files(settings, [radiograph], tmp_path / "out", uri)
    assert not (tmp_path / "out/predictions.csv").exists()


def test_a_run_without_a_model_or_a_record_is_one_line(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
) -> None:
    record, workspace = run
    empty = client.create_run(record.run.info.experiment_id)

    with pytest.raises(ReleaseError, match="has no model, expected the one of its training"):
        run_gate(RunRecord(settings, client, empty), workspace)
    with pytest.raises(ReleaseError, match="has no model, expected the one of its training"):
        run_promotion(RunRecord(settings, client, empty), workspace)
    with pytest.raises(ReleaseError, match="run 'nowhere': not in experiment"):
        open_record(settings, client, "nowhere")


def test_a_record_is_found_by_either_id(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
) -> None:
    record, _ = run

    by_own = find_record(settings, client, "first")
    by_mlflow = find_record(settings, client, record.run_id)

    assert by_own
    assert by_mlflow
    assert by_own.run_id == by_mlflow.run_id == record.run_id
    assert find_record(replace(settings, experiment="none"), client, "first") is None


def test_a_new_workspace_starts_from_the_newest_finished_lock(
    settings: Settings,
    client: MlflowClient,
    run: tuple[RunRecord, Workspace],
    tmp_path: Path,
) -> None:
    record, workspace = run
    assert latest_lock(settings, client, tmp_path) is None

    record.log_artifact(workspace.folder / "dvc.lock", "")
    release(run)

    lock = latest_lock(settings, client, tmp_path)
    assert lock
    assert lock.read_text() == (workspace.folder / "dvc.lock").read_text()


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = Settings()

    with (
        pytest.raises(ServiceError, match=r"http://127.0.0.1:9 does not answer .* `lungseg up`"),
        connect(settings) as client,
    ):
        find_record(settings, client, "any")


def test_a_server_that_fails_says_how(settings: Settings) -> None:
    from mlflow.exceptions import MlflowException

    said = "API request to endpoint /x failed with error code 500 != 200. Response body: 'No space'"

    with (
        pytest.raises(
            ServiceError, match=r"failed: API request .*No space'; see its log, and that"
        ),
        connect(settings),
    ):
        raise MlflowException(said)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (500, ServiceError, r"failed: .*disk or artifact store is not full or away"),
        (403, RefusedError, r"refuses the log-in or what it may do: .*MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_artifact_that_the_server_does_not_take_says_how(
    settings: Settings, status: int, kind: type[Exception], said: str
) -> None:
    answer = requests.Response()
    answer.status_code = status

    with pytest.raises(kind, match=said), connect(settings):
        raise requests.HTTPError("of an upload", response=answer)


class Killed(BaseException):
    """Ends a recording where it stands."""


@pytest.mark.parametrize("at", ["log_model_artifacts", "finalize_logged_model", "log_outputs"])
def test_a_model_that_was_half_uploaded_is_uploaded_again(
    settings: Settings,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, at, killed)
        with pytest.raises(Killed):
            make_run(settings, client, tmp_path / "run")
    record = open_record(settings, client, "run")
    workspace = Workspace(tmp_path / "run", "c0ffee", Path(sys.executable))

    record_cached(record, workspace)
    record.log_artifact(workspace.folder / "dvc.lock", "")

    models = client.search_logged_models([record.run.info.experiment_id])
    statuses = sorted(str(model.status) for model in models)
    assert statuses == (["READY"] if at == "log_outputs" else ["FAILED", "READY"])
    assert release((record, workspace)).status == "released"
