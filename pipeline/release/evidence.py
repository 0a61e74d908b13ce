"""What a run offers in support of its candidate, as MLflow recorded it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from pipeline.artifacts import first_problem
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, select_split, test_split_sha256
from pipeline.errors import ReleaseError, StageError
from pipeline.evaluation.metrics import METRICS_FILE, Metrics
from pipeline.evaluation.per_image import PER_IMAGE, PER_IMAGE_FILE
from pipeline.evaluation.visual_report import REPORT_FILE, STRIPS, Report
from pipeline.files import sha256_file, sha256_folder
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.inference.released import RELEASE_SHA256, ReleasedModel
from pipeline.model.training_history import TRAINED
from pipeline.params import EvaluateParams
from pipeline.params_file import read_yaml
from pipeline.release.registry import fetch_model
from pipeline.release.verdict import Candidate
from pipeline.tracking.run_record import RunRecord, download, find_artifact, find_model
from pipeline.workspace.objects import md5_file


@dataclass(frozen=True)
class Evidence:
    """The artifacts that the gate judges."""

    model_id: str
    model_sha256: str
    release_sha256: str
    model: ReleasedModel
    evaluate: EvaluateParams
    """How the run made masks of probabilities."""
    params: Mapping[str, Any]
    """The run's own params.yaml, of whatever version it is."""
    params_sha256: str
    metrics: Metrics
    metrics_sha256: str
    per_image: pd.DataFrame
    per_image_sha256: str
    split: pd.DataFrame
    report: Report | None
    report_problem: str
    """Why there is no report to judge; empty when there is one."""
    report_folder: Path
    report_sha256: str
    dvc_lock: Mapping[str, str]
    """Path -> MD5 of every file that dvc.lock records as a stage's output."""
    dvc_lock_sha256: str
    found_md5: Mapping[str, str]
    """Path -> MD5 of the files judged here, by the paths that dvc.lock has them under."""

    @property
    def asked(self) -> Mapping[str, Any]:
        """The bounds of the gate that the run asked for."""
        return self.section("gate")

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the run's own params.yaml; empty when there is none."""
        found = self.params.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def manifest_md5(self) -> str:
        """DVC's, of manifest.parquet; empty if dvc.lock has none."""
        return self.dvc_lock.get("artifacts/validate/manifest.parquet", "")

    @property
    def test(self) -> pd.DataFrame:
        """The test rows of the split."""
        return select_split(self.split, "test")

    @property
    def test_split_sha256(self) -> str:
        """Hash of which radiographs the test split holds."""
        return test_split_sha256(self.test)

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
            report_sha256=self.report_sha256,
            dvc_lock_sha256=self.dvc_lock_sha256,
            params_sha256=self.params_sha256,
        )


def load_evidence(record: RunRecord, folder: Path) -> Evidence:
    """Download a run's evidence to `folder`, and hash it.

    Raises ReleaseError when it has no candidate or one that is not as it was uploaded, StageError
    or ParamsError when a file cannot be read; a report that cannot be is part of the evidence.
    """
    model = find_model(record.client, record.run)
    if model is None:
        raise ReleaseError(f"run {record.run_id}: has no model, expected the one of its training")
    if RELEASE_SHA256 not in model.tags:
        raise ReleaseError(
            f"run {record.run_id}: its model has no tag {RELEASE_SHA256}, expected the hash of its "
            "files; it was logged by an earlier version, so start a new run",
        )
    released = fetch_model(f"models:/{model.model_id}", model.tags, folder)
    params_file = download(record, "code/params.yaml", folder)
    params = read_yaml(params_file)
    split = download(record, f"split/{SPLIT_FILE.name}", folder)
    metrics = download(record, f"evaluate/{METRICS_FILE.name}", folder)
    per_image = download(record, f"evaluate/{PER_IMAGE_FILE.name}", folder)
    lock = download(record, "dvc.lock", folder)
    report_folder = find_artifact(record.client, record.run_id, "report", folder, STRIPS)
    report, problem = _read_report(report_folder)
    judged = {str(SPLIT_FILE): split, str(METRICS_FILE): metrics, str(PER_IMAGE_FILE): per_image}
    judged |= {str(TRAINED / name): released.network / name for name in MODEL_FILES}
    return Evidence(
        model_id=model.model_id,
        model_sha256=model_sha256(released.network),
        release_sha256=model.tags[RELEASE_SHA256],
        model=released,
        evaluate=_evaluate_params(params, record.run_id),
        params=params,
        params_sha256=sha256_file(params_file),
        metrics=Metrics.read(metrics),
        metrics_sha256=sha256_file(metrics),
        per_image=PER_IMAGE.read(per_image),
        per_image_sha256=sha256_file(per_image),
        split=SPLIT.read(split),
        report=report,
        report_problem=problem,
        report_folder=report_folder or folder / "report",
        report_sha256=sha256_folder(report_folder, STRIPS) if report_folder else "",
        dvc_lock=_locked(lock),
        dvc_lock_sha256=sha256_file(lock),
        found_md5={path: md5_file(file) for path, file in judged.items()},
    )


def _evaluate_params(params: Mapping[str, Any], run_id: str) -> EvaluateParams:
    try:
        return EvaluateParams.model_validate(params.get("evaluate"))
    except ValidationError as error:
        raise ReleaseError(
            f"run {run_id}: the section evaluate of its params.yaml has {first_problem(error)}; "
            "start a new run",
        ) from None


def _read_report(folder: Path | None) -> tuple[Report | None, str]:
    """The report, or why there is none."""
    if folder is None:
        return None, "missing"
    try:
        return Report.read(folder / REPORT_FILE.name), ""
    except StageError as error:
        return None, f"unusable: {error}"


def _locked(lock: Path) -> dict[str, str]:
    """Path -> MD5 of every output in a dvc.lock; outputs that it does not hash are left out."""
    stages = read_yaml(lock).get("stages")
    found = stages.values() if isinstance(stages, dict) else []
    outs = [out for stage in found if isinstance(stage, dict) for out in stage.get("outs") or []]
    return {
        str(out["path"]): str(out["md5"])
        for out in outs
        if isinstance(out, dict) and {"path", "md5"} <= out.keys()
    }
