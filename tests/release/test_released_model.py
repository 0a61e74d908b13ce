"""A released model carries itself, and is opened only when every file of it is the released one."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.errors import ReleaseError
from pipeline.inference import released
from pipeline.inference.model_files import model_sha256
from pipeline.inference.packaging import PACKAGED
from pipeline.inference.released import verify_model
from pipeline.release.champion import score_champion
from pipeline.release.evidence import load_evidence
from pipeline.release.gate import run_gate
from pipeline.release.registry import CHAMPION, aliased_version, fetch_release
from pipeline.release.release_log import read_log
from pipeline.release.signing import open_signer
from pipeline.serving.masks import predict_files
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import Workspace
from tests.conftest import PROJECT
from tests.release.runs import NETWORK, OLD_LAYOUT, make_run, release

RADIOGRAPH = np.random.default_rng(0).integers(0, 256, (80, 100), np.uint8)
OLD_LUNG = np.load(OLD_LAYOUT.with_name("old_layout_lung.npy"))
"""What the network of OLD_LAYOUT answered to RADIOGRAPH when it was released."""

Run = tuple[RunRecord, Workspace]

LOAD = """
import json, sys
import mlflow, numpy
loaded = [mlflow.pyfunc.load_model(path) for path in sys.argv[2:]]
lungs = [model.predict(numpy.load(sys.argv[1])[None]) for model in loaded]
import pipeline
mine = sorted(name for name in sys.modules if name.startswith("lungseg_") and "." not in name)
print(json.dumps([[float(lung.mean()) for lung in lungs], pipeline.__file__, mine]))
"""


@pytest.fixture
def champion(settings: Settings, client: MlflowClient, tmp_path: Path) -> Run:
    """The run of a released champion that really predicts."""
    run = make_run(settings, client, tmp_path / "champion", model=NETWORK)
    release(run)
    return run


def stored_model(run: Run) -> Path:
    """The model's folder in the artifact store."""
    record, _ = run
    (model,) = record.client.search_logged_models([record.run.info.experiment_id])
    return Path(model.artifact_location)


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@contextmanager
def each_tampering(folder: Path) -> Iterator[Iterator[str]]:
    """Yield what was done to the model at each step: another byte, a file less, a file more."""

    def tamper() -> Iterator[str]:
        for file in files_of(folder):
            name, content = file.relative_to(folder).as_posix(), file.read_bytes()
            for place in {0, len(content) // 2, len(content) - 1}:
                file.write_bytes(
                    content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
                )
                yield f"byte {place} of {name}"
            file.unlink()
            yield f"without {name}"
            file.write_bytes(content)
            more = file.with_name(f"more_{file.name}")
            more.write_bytes(content)
            yield f"with {more.name}"
            more.unlink()

    yield tamper()


def test_a_changed_added_or_removed_file_is_refused(champion: Run, tmp_path: Path) -> None:
    record, _ = champion
    version = aliased_version(record.client, record.settings.model_name, CHAMPION)
    assert version
    folder = Path(shutil.copytree(stored_model(champion), tmp_path / "copy"))
    assert verify_model(folder, version.tags, "copy").whole

    tampered = 0
    with each_tampering(folder) as steps:
        for _ in steps:
            with pytest.raises(ReleaseError, match=r"copy: .*(not what was recorded|has no)"):
                verify_model(folder, version.tags, "copy")
            tampered += 1

    assert tampered > 4 * len(PACKAGED)
    assert verify_model(folder, version.tags, "copy").whole


def test_predict_runs_nothing_of_a_model_whose_code_was_replaced(
    settings: Settings, champion: Run, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    for code in stored_model(champion).rglob("*.py"):
        code.write_text(f"open({str(ran)!r}, 'w')\n" + code.read_text())
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")

    uri = f"models:/{settings.model_name}@champion"
    with pytest.raises(ReleaseError, match=r"version 1: the model folder is not what was recorded"):
        predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)

    assert not ran.exists()
    assert not (tmp_path / "out/predictions.csv").exists()


@pytest.mark.slow
def test_predict_gate_and_champion_scoring_refuse_any_changed_model(
    settings: Settings, client: MlflowClient, champion: Run, tmp_path: Path
) -> None:
    record, workspace = champion
    evidence = load_evidence(record, tmp_path)
    elsewhere = evidence.split.assign(pixel_sha256="another test split")
    differing = replace(evidence, split=elsewhere)
    log = read_log(client, settings.model_name, open_signer(settings))

    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    refused = 0
    with each_tampering(stored_model(champion)) as steps:
        for number, _ in enumerate(steps):
            (tmp_path / f"{number}").mkdir()
            with pytest.raises(ReleaseError, match=r"not what was recorded|has no"):
                run_gate(record, workspace)
            with pytest.raises(ReleaseError, match=r"not what was recorded|has no"):
                score_champion(record, workspace, differing, log, tmp_path / f"{number}")
            with pytest.raises(ReleaseError, match=r"not what was recorded|has no"):
                predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)
            refused += 1

    assert refused > 4 * len(PACKAGED)
    assert run_gate(record, workspace).candidate.model_id


def test_what_python_and_mlflow_leave_in_a_store_is_no_change(
    champion: Run, tmp_path: Path
) -> None:
    record, _ = champion
    version = aliased_version(record.client, record.settings.model_name, CHAMPION)
    assert version
    folder = Path(shutil.copytree(stored_model(champion), tmp_path / "copy"))
    (folder / "__pycache__/deeper/__pycache__").mkdir(parents=True)
    (folder / "__pycache__/pyfunc.pyc").write_bytes(b"compiled")
    (folder / "registered_model_meta").touch()

    model = verify_model(folder, version.tags, "copy")

    assert not (model.folder / "__pycache__").exists()
    assert not (model.folder / "registered_model_meta").exists()


def test_a_model_without_any_recorded_hash_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(OLD_LAYOUT, tmp_path / "old"))

    with pytest.raises(ReleaseError, match="old: has no recorded hash, expected the tag release_"):
        verify_model(folder, {}, "old")


def test_the_shipped_code_imports_nothing_but_itself_and_libraries() -> None:
    for name in PACKAGED:
        file = PROJECT / "pipeline" / name
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("pipeline") for alias in node.names)
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("pipeline")
                if node.level:
                    base = file.parents[node.level - 1].relative_to(PROJECT / "pipeline")
                    assert (base / f"{(node.module or '').replace('.', '/')}.py").as_posix() in (
                        PACKAGED
                    )


def load_elsewhere(folder: Path, *models: Path) -> tuple[list[float], str, list[str]]:
    """Load and run models in a process without the project, beside a foreign `pipeline.py`."""
    folder.mkdir()
    (folder / "pipeline.py").write_text("# a consumer's own module\n")
    np.save(folder / "radiograph.npy", RADIOGRAPH)
    program = (
        f"import sys; sys.path[:] = [path for path in sys.path if path != {str(PROJECT)!r}]; "
        f"sys.path.insert(0, {str(folder)!r})\n{LOAD}"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "radiograph.npy", *map(str, models)],
        cwd=folder,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lungs, foreign, packages = json.loads(done.stdout.splitlines()[-1])
    return lungs, foreign, packages


@pytest.mark.slow
def test_two_releases_each_run_their_own_code_beside_a_foreign_pipeline(
    settings: Settings, client: MlflowClient, champion: Run, tmp_path: Path
) -> None:
    other = make_run(settings, client, tmp_path / "other", model=NETWORK, halved=True)
    record, _ = other
    models = record.client.search_logged_models([record.run.info.experiment_id])
    stores = {one.source_run_id: Path(one.artifact_location) for one in models}

    lungs, foreign, packages = load_elsewhere(
        tmp_path / "consumer", stores[champion[0].run_id], stores[record.run_id]
    )

    assert foreign == str(tmp_path / "consumer/pipeline.py")
    assert len(packages) == 2
    assert lungs[0] == pytest.approx(OLD_LUNG.mean(), abs=1e-6)
    assert lungs[1] == pytest.approx(OLD_LUNG.mean() / 2, abs=1e-6)


def test_a_release_in_a_format_of_its_own_is_run_by_its_own_code(
    settings: Settings,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release(make_run(settings, client, tmp_path / "other", model=NETWORK, halved=True))
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "installed", uri)
    monkeypatch.setattr(released, "FORMATS", (7,))
    predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "own", uri)

    masks = [
        np.asarray(Image.open(tmp_path / name / "radiograph.png")) for name in ("installed", "own")
    ]
    np.testing.assert_array_equal(masks[0], 255 * (OLD_LUNG >= 0.5))
    assert not masks[1].any()  # half of a probability is under the threshold


def register_old_layout(settings: Settings, client: MlflowClient, threshold: str = "0.5") -> None:
    """What version 0.1 left in the registry."""
    experiment = client.create_experiment("old", settings.artifact_location)
    model = client.create_logged_model(experiment, "model")
    client.log_model_artifacts(model.model_id, str(OLD_LAYOUT))
    client.finalize_logged_model(model.model_id, "READY")
    tags = {"model_sha256": model_sha256(OLD_LAYOUT / "artifacts"), "threshold": threshold}
    version = mlflow.register_model(f"models:/{model.model_id}", settings.model_name, tags=tags)
    client.set_registered_model_alias(settings.model_name, CHAMPION, version.version)


def test_a_release_of_the_old_layout_predicts(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    register_old_layout(settings, client)
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)

    mask = np.asarray(Image.open(tmp_path / "out/radiograph.png"))
    np.testing.assert_array_equal(mask, 255 * (OLD_LUNG >= 0.5))


def test_code_of_the_old_layout_is_never_run(
    settings: Settings, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_old_layout(settings, client)
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"
    monkeypatch.setattr(released, "FORMATS", (7,))

    with pytest.raises(ReleaseError, match=r"format 1, expected one of \(7,\), and its own code"):
        predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)


def test_a_swapped_network_of_the_old_layout_is_refused(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    register_old_layout(settings, client)
    for stored in settings.home.rglob("model.onnx"):
        stored.write_bytes(b"swapped")
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    with pytest.raises(ReleaseError, match="the model files are not what was recorded"):
        predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)


def test_a_release_from_before_the_export_is_one_line(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    register_old_layout(settings, client)
    for stored in settings.home.rglob("model.onnx"):
        stored.unlink()
    Image.fromarray(RADIOGRAPH).save(tmp_path / "radiograph.png")
    uri = f"models:/{settings.model_name}@champion"

    with pytest.raises(ReleaseError, match=r"has no model\.onnx, .*release a model") as refusal:
        predict_files(settings, [tmp_path / "radiograph.png"], tmp_path / "out", uri)
    assert "\n" not in str(refusal.value)


def test_code_of_a_revision_laid_out_otherwise_is_one_line(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match=r"fit\.py: no such file, expected the code that predic"):
        make_run(settings, client, tmp_path / "run", without="radiograph/fit.py")


def test_a_model_whose_upload_never_ended_does_not_count(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    record, workspace = make_run(settings, client, tmp_path / "run")
    (model,) = client.search_logged_models([record.run.info.experiment_id])
    client.delete_logged_model(model.model_id)
    client.create_logged_model(record.run.info.experiment_id, "model", record.run_id)

    with pytest.raises(ReleaseError, match="has no model, expected the one of its training"):
        run_gate(record, workspace)


def test_a_release_without_a_threshold_is_one_line(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    register_old_layout(settings, client, threshold="half")

    with pytest.raises(ReleaseError, match="version 1: found the tag threshold 'half', expected"):
        fetch_release(settings, f"models:/{settings.model_name}/1", tmp_path)
