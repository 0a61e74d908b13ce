"""A released network that answers in several conventions, from the gate to its consumers."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.errors import StageError
from pipeline.inference import released
from pipeline.inference.model_files import MODEL_FILES
from pipeline.inference.predictor import Predictor
from pipeline.release.gate import run_gate
from pipeline.release.history import rollback
from pipeline.release.promotion import run_promotion
from pipeline.release.release_log import read_log
from pipeline.release.signing import open_signer
from pipeline.serving.masks import Asked, predict_files
from pipeline.settings import Settings
from tests.explanation.darkness import darkness, save
from tests.release.runs import Run, make_run, release

RADIOGRAPH = np.random.default_rng(0).integers(0, 256, (80, 100), np.uint8)
NAMES = ("standard", "bright")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(darkness(2), tmp_path_factory.mktemp("told") / "network", NAMES)


def files_of(network: Path) -> dict[str, bytes]:
    return {name: (network / name).read_bytes() for name in MODEL_FILES}


@pytest.fixture
def run(settings: Settings, client: MlflowClient, tmp_path: Path, network: Path) -> Run:
    files = files_of(network)
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    told = {"Normal": "bright"}
    return make_run(settings, client, tmp_path / "told", None, files, conventions=told)


def masks(network: Path) -> dict[str, np.ndarray]:
    predictor = Predictor(network / "model.onnx")
    return {name: 255 * (predictor.predict([RADIOGRAPH], None, [name])[0] >= 0.5) for name in NAMES}


@pytest.mark.slow
def test_the_gate_predicts_each_radiograph_again_in_its_own_convention(run: Run) -> None:
    checks = {check.name: check for check in run_gate(*run).checks}

    assert checks["predicted_again"].passed, checks["predicted_again"]


@pytest.mark.slow
def test_a_champion_answers_to_a_renamed_convention_by_the_name_that_it_knows(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    files = files_of(save(darkness(2), tmp_path / "network", ("standard", "glow")))
    renamed = make_run(
        settings, client, tmp_path / "renamed", None, files, conventions={"Normal": "glow"}
    )

    checks = {check.name: check for check in run_gate(*renamed).checks}

    # The same answers of the same masks, which it would not give in its default.
    assert checks["dice_vs_champion_in_glow"].value == 0
    assert checks["dice_vs_champion_in_glow"].detail.endswith(
        "; it does not know this convention and answered in bright"
    )


@pytest.mark.slow
def test_a_release_that_drops_a_convention_needs_somebody_who_answers_for_it(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    told = release(run)
    assert told.event
    assert told.event["conventions"] == list(NAMES)
    files = files_of(save(darkness(), tmp_path / "network"))
    single = make_run(settings, client, tmp_path / "single", None, files)

    refused = release(single)

    assert (refused.status, refused.reason) == ("refused", "failed bounds")
    reasons = client.get_run(single[0].run_id).data.tags["gate.reasons"]
    assert reasons == (
        "bounds lowered: no answers in bright (allowed by nobody), required those of the deployed "
        "project and the champion, or --allow-lowered NAME"
    )
    assert run_gate(*single, "Ada Lovelace").passed
    outcome = run_promotion(*single)  # the signed verdict says who answers for it
    assert outcome.status == "released"
    assert outcome.event
    assert outcome.event["conventions"] == ["standard"]
    tags = client.get_model_version(settings.model_name, "2").tags
    assert tags["bounds"] == "lowered: no answers in bright (allowed by Ada Lovelace)"


@pytest.mark.slow
def test_a_network_that_is_a_version_already_drops_nothing(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    files = files_of(save(darkness(), tmp_path / "network"))
    assert release(make_run(settings, client, tmp_path / "single", None, files)).version == "1"
    assert release(run).version == "2"

    again = release(make_run(settings, client, tmp_path / "again", None, files))

    assert (again.status, again.version) == ("unchanged", "1")
    assert "`lungseg rollback --to 1` makes it that again" in again.reason
    rollback(settings, client, None, "Ada")
    assert rollback(settings, client, "2", "Ada").to_version == "2"
    entries = read_log(client, settings.model_name, open_signer(settings)).entries
    known = [one.record.facts.conventions for one in entries if one.record and one.record.facts]
    assert known == [("standard",), NAMES, ("standard",), NAMES]


@pytest.mark.slow
def test_who_answered_before_does_not_answer_for_a_convention_of_a_champion_since(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    files = files_of(save(darkness(), tmp_path / "network"))
    asked = {"min_accuracy": 0.1}
    single = make_run(settings, client, tmp_path / "single", None, files, gate=asked)
    assert run_gate(*single, "Ada Lovelace").passed
    release(run)

    outcome = run_promotion(*single, "Ada Lovelace")  # as a DAG run that waited hands it on

    assert (outcome.status, outcome.reason) == ("refused", "failed bounds")


@pytest.mark.slow
def test_a_release_answers_in_each_convention_everywhere(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert release(run).status == "released"
    uri, expected = f"models:/{settings.model_name}@champion", masks(network)

    description = client.get_model_version(settings.model_name, "1").description
    assert "Masks are drawn as `standard` unless another is asked for" in description
    assert "| `bright` | 1 | 0 | 8 | 0.97" in description
    (logged,) = client.search_logged_models([run[0].run.info.experiment_id])
    model = mlflow.pyfunc.load_model(logged.artifact_location)
    assert model.metadata.metadata == {"conventions": list(NAMES)}
    for name in (*NAMES, None):
        params = {"convention": name} if name else {}
        found = model.predict(RADIOGRAPH[None], params=params)[0]
        np.testing.assert_array_equal(255 * (found >= 0.5), expected[name or "standard"])
    # Of the class that the release carries.
    with pytest.raises(Exception, match=r"found 'lungs', expected one .*: standard, bright; ask"):
        model.predict(RADIOGRAPH[None], params={"convention": "lungs"})

    scan = [tmp_path / "radiograph.png"]
    for formats in (released.FORMATS, (7,)):  # the installed code, and that of the release
        monkeypatch.setattr(released, "FORMATS", formats)
        for name in (*NAMES, None):
            out = tmp_path / f"{formats[0]}{name}"
            predict_files(settings, scan, out, uri, Asked(convention=name))
            mask = np.asarray(Image.open(out / "radiograph.png"))
            np.testing.assert_array_equal(mask, expected[name or "standard"])
            assert _conventions(out) == [name or "standard"]
        for name in ("lungs", ""):  # as of an unset variable of the shell
            refusal = rf"found '{name}', expected one .*: standard, bright"
            with pytest.raises(StageError, match=refusal):
                predict_files(settings, scan, tmp_path / "none", uri, Asked(convention=name))
        assert not (tmp_path / "none").exists()


def _conventions(out: Path) -> list[str]:
    return pd.read_csv(out / "predictions.csv")["convention"].tolist()


@pytest.mark.slow
def test_the_command_takes_a_convention(
    settings: Settings, run: Run, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(run)
    monkeypatch.setattr("pipeline.cli.releases.Settings", lambda **_: settings)
    command = ["predict", str(tmp_path / "radiograph.png"), "--out", str(tmp_path / "masks")]

    done = CliRunner().invoke(app, [*command, "--convention", "bright"])

    assert done.exit_code == 0, done.output
    mask = np.asarray(Image.open(tmp_path / "masks/radiograph.png"))
    np.testing.assert_array_equal(mask, masks(network)["bright"])
    refused = CliRunner().invoke(app, [*command, "--convention", "lungs"])
    assert isinstance(refused.exception, StageError)
    assert "expected one that the network knows: standard, bright" in str(refused.exception)
