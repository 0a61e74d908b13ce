"""Runs whose results are made up but belong together, in a real MLflow store."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml
from mlflow import MlflowClient

from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE
from pipeline.dataset.splits.table import test_split_sha256 as split_sha256
from pipeline.evaluation.metrics import METRICS_FILE, PER_IMAGE, PER_IMAGE_FILE, Metrics
from pipeline.evaluation.visual_report import REPORT_FILE
from pipeline.files import sha256_file, write_json
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.model.training_history import HISTORY
from pipeline.release.gate import run_gate
from pipeline.release.promotion import Promotion, run_promotion
from pipeline.run.recording import record_cached, start_record
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.workspace import RunRequest, Workspace
from tests.conftest import PROJECT
from tests.release.test_gate import CLASSES, make_evidence, score_table

OLD_LAYOUT = Path(__file__).with_name("old_layout")
"""A release as version 0.1 laid it out: its code is called `pipeline`."""

NETWORK = {name: (OLD_LAYOUT / "artifacts" / name).read_bytes() for name in MODEL_FILES}
"""A U-Net++ of 32 pixels with two heads and random weights."""

DATA = {"outs": [{"md5": "0123abcd.dir", "size": 9, "nfiles": 4, "hash": "md5", "path": "data"}]}


def make_run(
    settings: Settings,
    client: MlflowClient,
    folder: Path,
    dice: dict[str, list[float]] | None = None,
    model: bytes | dict[str, bytes] = b"weights",
    *,
    halved: bool = False,
    without: str = "",
) -> tuple[RunRecord, Workspace]:
    """A finished run's record and workspace, whose results are made up but belong together.

    `halved` is code whose predictor gives half of each probability, `without` lacks a module.
    """
    per_image = score_table(dice or dict.fromkeys(CLASSES, [0.97] * 8))
    results = folder / "artifacts"
    for name in ("split", "augment", "train", "evaluate/predictions"):
        (results / name).mkdir(parents=True)
    for name in ("data_docs", "page"):
        (results / "validate" / name).mkdir(parents=True)
        (results / "validate" / name / "index.html").write_text("<html>")
    (results / "validate/quarantine.csv").write_text("image_id,path,reason,found,remedy\n")
    (results / "validate/manifest.parquet").touch()
    write_json(results / "validate/validation.json", {"pairs": 16, "quarantined": 0})
    test = per_image[["image_id", "class_name", "pixel_sha256"]].assign(split="test")
    test["group"] = test["image_id"]
    files = dict.fromkeys(("image_path", "mask_path", "image_sha256", "mask_sha256"), "")
    SPLIT.write(folder / SPLIT_FILE, test.assign(**files))
    write_json(results / "split/split.json", {"test": 16, "classes": {"COVID": {"test": 8}}})
    (results / "augment/preview.png").touch()
    write_json(results / "augment/augment.json", {})
    for name in MODEL_FILES:
        content = model[name] if isinstance(model, dict) else model
        (results / "train" / name).write_bytes(content)
    (results / "train/history.csv").write_text(
        f"{','.join(HISTORY.columns)}\n"
        "1,0.5,0.8,0.7,0.6,0.4,0.9,0.8,0.7,0.001\n2,0.4,0.8,0.7,0.6,0.3,0.9,0.9,0.8,0.001\n",
    )
    write_json(results / "train/train.json", {"epochs": 2, "val_dice": 0.9})
    PER_IMAGE.write(folder / PER_IMAGE_FILE, per_image)
    (results / "evaluate/per_class.csv").touch()
    Metrics.of(per_image).write(folder / METRICS_FILE)
    evidence = make_evidence(results / "report", None, per_image)  # type: ignore[arg-type]
    assert evidence.report
    hashes = {
        "model_sha256": model_sha256(results / "train"),
        "metrics_sha256": sha256_file(folder / METRICS_FILE),
        "test_split_sha256": split_sha256(test),
    }
    evidence.report.model_copy(update=hashes).write(folder / REPORT_FILE)
    for name in ("params.yaml", "dvc.yaml", "uv.lock"):
        shutil.copy(PROJECT / name, folder / name)
    shutil.copytree(PROJECT / "pipeline", folder / "pipeline")
    if halved:
        predictor = folder / "pipeline/inference/predictor.py"
        code = predictor.read_text()
        predictor.write_text(code.replace("found[0, ..., 0]", "found[0, ..., 0] / 2"))
        assert predictor.read_text() != code
    if without:
        (folder / "pipeline" / without).unlink()
    (folder / "data.dvc").write_text(yaml.safe_dump(DATA))
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    workspace = Workspace(folder, "c0ffee", Path(sys.executable))
    record = start_record(settings, client, RunRequest(folder.name), workspace)
    record_cached(record, workspace)
    return RunRecord(settings, client, client.get_run(record.run_id)), workspace


def release(run: tuple[RunRecord, Workspace]) -> Promotion:
    run_gate(*run)
    return run_promotion(*run)
