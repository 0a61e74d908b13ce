"""Runs whose results are made up but belong together, in a real MLflow store."""

from __future__ import annotations

import math
import shutil
import sys
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image

from pipeline.conventions import STANDARD
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, data_sha256
from pipeline.dataset.splits.table import test_split_sha256 as split_sha256
from pipeline.evaluation.metrics import METRICS_FILE, Metrics
from pipeline.evaluation.per_image import IDENTITY, PER_IMAGE, PER_IMAGE_FILE, per_image_table
from pipeline.evaluation.scoring import Answer, score_answer
from pipeline.evaluation.visual_report import REPORT_FILE, STRIPS, Report, ShownCase
from pipeline.files import sha256_file, sha256_folder, write_json
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.inference.predictor import Predictor
from pipeline.model.training_history import HISTORY
from pipeline.release.gate import run_gate
from pipeline.release.promotion import Promotion, run_promotion
from pipeline.run.recording import record_cached, start_record
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from pipeline.workspace.objects import md5_file
from pipeline.workspace.workspace import RunRequest, Workspace
from tests.conftest import PROJECT

OLD_LAYOUT = Path(__file__).with_name("old_layout")
"""A release as version 0.1 laid it out: its code is called `pipeline`."""

NETWORK = {name: (OLD_LAYOUT / "artifacts" / name).read_bytes() for name in MODEL_FILES}
"""A U-Net++ of 32 pixels with two heads and random weights."""

CLASSES = ("COVID", "Normal")
LAX = {"max_hd95": 100.0, "max_ece": 1.0}
"""Bounds that answers to noise meet."""
DATA = {"outs": [{"md5": "0123abcd.dir", "size": 9, "nfiles": 4, "hash": "md5", "path": "data"}]}
Run = tuple[RunRecord, Workspace]


def network(name: bytes) -> dict[str, bytes]:
    """A network that predicts as all here do, and is another one for the registry."""
    return {**NETWORK, "model.keras": name}


@cache
def radiograph(
    image_id: str, onnx: bytes, convention: str = STANDARD
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Noise of 64 pixels, and the probabilities that a network predicts for it."""
    with TemporaryDirectory() as temporary:
        file = Path(temporary, "model.onnx")
        file.write_bytes(onnx)
        pixels = np.random.default_rng(zlib.crc32(image_id.encode())).integers(
            0, 256, (64, 64), np.uint8
        )
        (lung,) = Predictor(file).predict([pixels], None, [convention])
    return pixels, lung


def true_mask(predicted: NDArray[np.uint8], dice: float) -> NDArray[np.uint8]:
    """A mask against which the predicted one has about this Dice: a part of it."""
    lung = np.flatnonzero(predicted)
    mask = np.zeros(predicted.size, np.uint8)
    mask[lung[: round(len(lung) * dice / (2 - dice))]] = 1
    return mask.reshape(predicted.shape)


def write_data(
    data: Path,
    dice: dict[str, list[float]],
    onnx: bytes = NETWORK["model.onnx"],
    conventions: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Radiographs and masks on which a network has these Dice scores; its per-image table.

    `conventions` has those of some classes; the others' is the standard one.
    """
    rows = []
    for name, values in dice.items():
        for kind in ("images", "masks"):
            (data / name / kind).mkdir(parents=True, exist_ok=True)
        for number, value in enumerate(values):
            image_id = f"{name}/{number}"
            convention = conventions.get(name, STANDARD)
            pixels, lung = radiograph(image_id, onnx, convention)
            predicted = (lung >= 0.5).astype(np.uint8)
            truth = true_mask(predicted, value)
            Image.fromarray(pixels).save(data / name / f"images/{number}.png")
            Image.fromarray(truth * np.uint8(255)).save(data / name / f"masks/{number}.png")
            pair = SplitRow(
                image_id=image_id,
                class_name=name,
                image_path="",
                mask_path="",
                image_sha256="",
                mask_sha256="",
                pixel_sha256=f"{zlib.crc32(pixels.tobytes()):08x}",
                group=image_id,
                source="made up",
                spacing=math.nan,
                split="test",
                convention=convention,
            )
            rows.append(score_answer(pair, Answer(pixels, truth, lung, predicted)))
    table = per_image_table(rows)
    return table.assign(
        convention=[conventions.get(name, STANDARD) for name in table["class_name"]]
    )


def split_of(per_image: pd.DataFrame, data: Path) -> pd.DataFrame:
    """The test rows of these radiographs, and a training row of each class."""
    test = per_image[[*IDENTITY, "spacing"]].assign(split="test", convention_by="")
    test["convention"] = per_image.get("convention", STANDARD)
    for column, kind in (("image", "images"), ("mask", "masks")):
        paths = [
            f"{one.partition('/')[0]}/{kind}/{one.partition('/')[2]}.png" for one in test.image_id
        ]
        test[f"{column}_path"] = paths
        test[f"{column}_sha256"] = [sha256_file(data / path) for path in paths]
    train = test.groupby("class_name").head(1).assign(split="train")
    for column in ("image_id", "group", "pixel_sha256"):
        train[column] = train["class_name"] + "/trained"
    return pd.concat([test, train])


def make_run(
    settings: Settings,
    client: MlflowClient,
    folder: Path,
    dice: dict[str, list[float]] | None = None,
    model: bytes | dict[str, bytes] = b"weights",
    *,
    halved: bool = False,
    without: str = "",
    gate: dict[str, Any] | None = None,
    conventions: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """A finished run's record and workspace: a network, its scores, and a report about them.

    `halved` is code whose predictor gives half of each probability, `without` lacks a module,
    `gate` are bounds that the run asks for, `conventions` those of some classes.
    """
    files = model if isinstance(model, dict) else network(model)
    wanted = dice or dict.fromkeys(CLASSES, [0.97] * 8)
    table = write_data(folder / "data", wanted, files["model.onnx"], conventions)
    write_results(folder, table, files)
    for name in ("params.yaml", "dvc.yaml", "uv.lock"):
        shutil.copy(PROJECT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["gate"] |= LAX | (gate or {})
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(PROJECT / "pipeline", folder / "pipeline")
    if halved:
        predictor = folder / "pipeline/inference/predictor.py"
        code = predictor.read_text()
        predictor.write_text(code.replace("found[0, ..., 0]", "found[0, ..., 0] / 2"))
        assert predictor.read_text() != code
    if without:
        (folder / "pipeline" / without).unlink()
    (folder / "data.dvc").write_text(yaml.safe_dump(DATA))
    write_lock(folder)
    workspace = Workspace(folder, "c0ffee", Path(sys.executable))
    record = start_record(settings, client, RunRequest(folder.name), workspace)
    record_cached(record, workspace)
    record.log_artifact(folder / "dvc.lock", "")
    return RunRecord(settings, client, client.get_run(record.run_id)), workspace


def write_results(folder: Path, per_image: pd.DataFrame, model: dict[str, bytes]) -> None:
    """The outputs of every stage below the project's `folder`."""
    results = folder / "artifacts"
    for name in ("split", "augment", "train", "evaluate/predictions", "evaluate/probabilities"):
        (results / name).mkdir(parents=True)
    for name in ("data_docs", "page"):
        (results / "validate" / name).mkdir(parents=True)
        (results / "validate" / name / "index.html").write_text("<html>")
    (results / "validate/quarantine.csv").write_text("image_id,path,reason,found,remedy\n")
    (results / "validate/manifest.parquet").touch()
    (results / "validate/doubtful_conventions.csv").touch()
    write_json(results / "validate/validation.json", {"pairs": 16, "quarantined": 0})
    split = split_of(per_image, folder / "data")
    SPLIT.write(folder / SPLIT_FILE, split)
    write_json(results / "split/split.json", {"test": 16, "classes": {"COVID": {"test": 8}}})
    (results / "augment/preview.png").touch()
    write_json(results / "augment/augment.json", {})
    for name in MODEL_FILES:
        (results / "train" / name).write_bytes(model[name])
    (results / "train/history.csv").write_text(
        f"{','.join(HISTORY.columns)}\n"
        "1,0.5,0.8,0.7,0.6,0.4,0.9,0.8,0.7,0.001\n2,0.4,0.8,0.7,0.6,0.3,0.9,0.9,0.8,0.001\n",
    )
    write_json(results / "train/train.json", {"epochs": 2, "val_dice": 0.9})
    PER_IMAGE.write(folder / PER_IMAGE_FILE, per_image)
    for name in ("per_class", "calibration", "failure_prediction", "conventions"):
        (results / f"evaluate/{name}.csv").touch()
    (results / "evaluate/robustness.parquet").touch()
    Metrics.of(per_image).write(folder / METRICS_FILE)
    write_report(
        results / "report",
        per_image,
        split,
        model_sha256=model_sha256(results / "train"),
        metrics_sha256=sha256_file(folder / METRICS_FILE),
        per_image_sha256=sha256_file(folder / PER_IMAGE_FILE),
    )


NOT_JUDGED = (
    "calibration_sha256",
    "robustness_sha256",
    "failure_prediction_sha256",
    "split_sha256",
    "params_sha256",
)
"""Hashes of a report that the gate does not compare."""


def write_report(
    folder: Path, per_image: pd.DataFrame, split: pd.DataFrame, **hashes: str
) -> Report:
    """A report of the nine worst cases, each with a picture of its own."""
    (folder / "overlays").mkdir(parents=True, exist_ok=True)
    (folder / STRIPS).mkdir(exist_ok=True)
    (folder / STRIPS / "COVID-1.jpg").write_bytes(b"a strip")
    (folder / "index.html").write_text("<html></html>")
    cases = []
    for row in per_image.nsmallest(9, "dice").itertuples():
        overlay = f"overlays/{row.image_id.replace('/', '-')}.png"
        shade = len(cases) * 20
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(folder / overlay)
        case = {"image_id": row.image_id, "kind": "worst", "dice": row.dice, "overlay": overlay}
        cases.append(ShownCase(**case, sha256=sha256_file(folder / overlay)))
    report = Report(
        test_split_sha256=split_sha256(split[split["split"] == "test"]),
        data_sha256=data_sha256(split),
        code_sha256="code",
        **dict.fromkeys(NOT_JUDGED, "digest"),
        index_sha256=sha256_file(folder / "index.html"),
        strips_sha256=sha256_folder(folder / STRIPS),
        test_cases=len(per_image),
        cases=tuple(cases),
        **hashes,
    )
    report.write(folder / REPORT_FILE.name)
    return report


def write_lock(folder: Path) -> None:
    """A dvc.lock that records every file below artifacts/."""
    files = sorted(file for file in (folder / "artifacts").rglob("*") if file.is_file())
    outs = [{"path": str(file.relative_to(folder)), "md5": md5_file(file)} for file in files]
    content = {"schema": "2.0", "stages": {"all": {"cmd": "x", "outs": outs}}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(content))


def release(run: Run, allowed_by: str = "") -> Promotion:
    run_gate(*run, allowed_by)
    return run_promotion(*run, allowed_by)


def restore(kept: Path, home: Path) -> None:
    """Put everything back; the database keeps its file, which MLflow holds open."""
    for file in home.rglob("*"):
        if file.is_file() and not (kept / file.relative_to(home)).exists():
            file.unlink()
    for file in kept.rglob("*"):
        target = home / file.relative_to(kept)
        if file.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(file.read_bytes())
