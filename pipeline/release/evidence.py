"""What a run offers in support of its candidate, as MLflow recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.dataset.splits.table import SPLIT, select_split, test_split_sha256
from pipeline.errors import ReleaseError
from pipeline.evaluation.metrics import PER_IMAGE, Metrics
from pipeline.evaluation.visual_report import REPORT_FILE, Report
from pipeline.files import sha256_file
from pipeline.inference.model_files import model_sha256
from pipeline.inference.released import RELEASE_SHA256
from pipeline.params import Params, load_params
from pipeline.release.registry import fetch_model
from pipeline.release.verdict import Candidate
from pipeline.tracking.run_record import RunRecord, download, find_model


@dataclass(frozen=True)
class Evidence:
    """The artifacts that the gate judges; `report` is None when there is none."""

    params: Params
    model_id: str
    model_sha256: str
    release_sha256: str
    metrics: Metrics
    metrics_sha256: str
    per_image: pd.DataFrame
    per_image_sha256: str
    split: pd.DataFrame
    report: Report | None
    report_folder: Path

    @property
    def test_split_sha256(self) -> str:
        """Hash of which radiographs the test split holds."""
        return test_split_sha256(select_split(self.split, "test"))

    @property
    def candidate(self) -> Candidate:
        """What the verdict binds itself to."""
        return Candidate(
            model_id=self.model_id,
            model_sha256=self.model_sha256,
            release_sha256=self.release_sha256,
            test_split_sha256=self.test_split_sha256,
            metrics_sha256=self.metrics_sha256,
            per_image_sha256=self.per_image_sha256,
        )


def load_evidence(record: RunRecord, folder: Path) -> Evidence:
    """Download a run's evidence to `folder`; raises ReleaseError when it has no candidate."""
    model = find_model(record.client, record.run)
    if model is None:
        raise ReleaseError(f"run {record.run_id}: has no model, expected the one of its training")
    if RELEASE_SHA256 not in model.tags:
        raise ReleaseError(
            f"run {record.run_id}: its model has no tag {RELEASE_SHA256}, expected the hash of its "
            "files; it was logged by an earlier version, so start a new run",
        )
    released = fetch_model(f"models:/{model.model_id}", model.tags, folder)
    metrics = download(record, "evaluate/metrics.json", folder)
    per_image = download(record, "evaluate/per_image.parquet", folder)
    report_folder = _download_report(record, folder)
    return Evidence(
        params=load_params(download(record, "code/params.yaml", folder)),
        model_id=model.model_id,
        model_sha256=model_sha256(released.network),
        release_sha256=model.tags[RELEASE_SHA256],
        metrics=Metrics.read(metrics),
        metrics_sha256=sha256_file(metrics),
        per_image=PER_IMAGE.read(per_image),
        per_image_sha256=sha256_file(per_image),
        split=SPLIT.read(download(record, "split/split.csv", folder)),
        report=_read_report(report_folder),
        report_folder=report_folder,
    )


def _download_report(record: RunRecord, folder: Path) -> Path:
    try:
        return download(record, "report", folder)
    except ReleaseError:
        return folder / "report"


def _read_report(folder: Path) -> Report | None:
    path = folder / REPORT_FILE.name
    return Report.read(path) if path.is_file() else None
