"""What a run offers in support of its candidate, as MLflow recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.dataset.splits.table import test_split_sha256
from pipeline.errors import ReleaseError
from pipeline.files import read_json, sha256_file
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.params import Params, load_params
from pipeline.tracking.run_record import RunRecord, download, find_model


@dataclass(frozen=True)
class Evidence:
    """The artifacts that the gate judges; `report` is None when there is none."""

    params: Params
    model_id: str
    model_sha256: str
    metrics: dict[str, Any]
    metrics_sha256: str
    per_image: pd.DataFrame
    per_image_sha256: str
    split: pd.DataFrame
    report: dict[str, Any] | None
    report_folder: Path

    @property
    def test_split_sha256(self) -> str:
        """Hash of which radiographs the test split holds."""
        return test_split_sha256(self.split[self.split["split"] == "test"])

    @property
    def identity(self) -> dict[str, str]:
        """What the verdict binds itself to."""
        return {
            "model_id": self.model_id,
            "model_sha256": self.model_sha256,
            "test_split_sha256": self.test_split_sha256,
            "metrics_sha256": self.metrics_sha256,
            "per_image_sha256": self.per_image_sha256,
        }


def load_evidence(record: RunRecord, folder: Path) -> Evidence:
    """Download a run's evidence to `folder`; raises ReleaseError when it has no candidate."""
    model = find_model(record.client, record.run)
    if model is None:
        raise ReleaseError(f"run {record.run_id}: has no model, expected the one of its training")
    metrics = download(record, "evaluate/metrics.json", folder)
    per_image = download(record, "evaluate/per_image.parquet", folder)
    report_folder = _download_report(record, folder)
    return Evidence(
        params=load_params(download(record, "code/params.yaml", folder)),
        model_id=model.model_id,
        model_sha256=model_sha256(download_model(f"models:/{model.model_id}", folder)),
        metrics=read_json(metrics),
        metrics_sha256=sha256_file(metrics),
        per_image=pd.read_parquet(per_image),
        per_image_sha256=sha256_file(per_image),
        split=pd.read_csv(download(record, "split/split.csv", folder), keep_default_na=False),
        report=_read_report(report_folder),
        report_folder=report_folder,
    )


def download_model(uri: str, folder: Path) -> Path:
    """Download the model behind an MLflow address; return the folder of the network's files.

    The MLflow model is the folder above. Raises ReleaseError when a file is missing.
    """
    import mlflow

    target = folder / uri.partition(":/")[2].replace("/", "_")
    target.mkdir()
    files = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target))) / "artifacts"
    missing = [name for name in MODEL_FILES if not (files / name).is_file()]
    if missing:
        raise ReleaseError(
            f"{uri}: has no {missing[0]}, expected {' and '.join(MODEL_FILES)}; if it is from "
            "before networks were exported, release a model trained anew (on the same "
            "test split, where this one's recorded scores serve, or without the alias champion)",
        )
    return files


def _download_report(record: RunRecord, folder: Path) -> Path:
    try:
        return download(record, "report", folder)
    except ReleaseError:
        return folder / "report"


def _read_report(folder: Path) -> dict[str, Any] | None:
    if not (folder / "report.json").is_file():
        return None
    report: dict[str, Any] = read_json(folder / "report.json")
    return report
