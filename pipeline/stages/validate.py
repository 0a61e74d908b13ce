"""Validate the dataset: a manifest of the good pairs, a quarantine of the bad, and a result.

Every pair is read and decoded once. What cannot be trained on is set aside with a reason and a
remedy; Great Expectations then judges the tables, and a critical failure stops the run.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from pipeline.dataset.manifest import MANIFEST, MANIFEST_FILE, QUARANTINE, QUARANTINE_FILE
from pipeline.dataset.validation.counting import summarise_validation
from pipeline.dataset.validation.doubtful import DOUBTFUL, DOUBTFUL_FILE
from pipeline.dataset.validation.drift import shift_table
from pipeline.dataset.validation.expectations import ValidationResult, check_expectations
from pipeline.dataset.validation.gallery import write_page
from pipeline.dataset.validation.populations import read_previous
from pipeline.dataset.validation.validation_summary import VALIDATION_SUMMARY_FILE
from pipeline.dataset.validation.whole import DatasetTables, inspect_dataset, inspect_part
from pipeline.errors import StageError
from pipeline.files import atomic_folder
from pipeline.params import Params
from pipeline.parts import StagePart, parts_in
from pipeline.settings import Settings

log = logging.getLogger(__name__)

REFUSED = Path("artifacts/validate-refused")
LISTED = 50  # quarantined files that the log names


def run(params: Params, root: Path) -> str:
    """Write artifacts/validate/; raises StageError on a critical failure or a damaged profile.

    What a refused dataset looked like is left in artifacts/validate-refused/, which no stage reads.
    """
    previous = read_previous(root)
    parts = parts_in(Settings().parts_of("validate"), params.stages.parts)
    data = root / "data"
    manifest, quarantine, origins = inspect_dataset(data, params.validate_, parts)
    tables = DatasetTables(manifest, quarantine, shift_table(manifest, previous), origins)
    refused = root / REFUSED
    with tempfile.TemporaryDirectory() as temporary:
        docs = Path(temporary, "data_docs")
        result = check_expectations(tables, params.validate_, docs)
        shutil.rmtree(refused, ignore_errors=True)
        with atomic_folder(refused if result.critical else root / MANIFEST_FILE.parent) as folder:
            shutil.copytree(docs, folder / "data_docs")
            MANIFEST.write(folder / MANIFEST_FILE.name, manifest)
            QUARANTINE.write(folder / QUARANTINE_FILE.name, quarantine)
            DOUBTFUL.write(folder / DOUBTFUL_FILE.name, tables.doubtful)
            summary = summarise_validation(tables, result)
            summary.write(folder / VALIDATION_SUMMARY_FILE.name)
            write_page(folder / "page", data, tables, params.validate_)
    for line in origins.lines:
        log.info("validate: %s", line)
    log_problems(quarantine, result)
    if doubtful := len(tables.doubtful):
        log.warning(
            "validate: %d masks look like another annotation convention than theirs; %s lists them",
            doubtful,
            DOUBTFUL_FILE.name,
        )
    if noted := int((manifest["notes"] != "").sum()):
        log.warning("validate: %d radiographs have notes on how they were read (manifest)", noted)
    if result.critical:
        raise StageError(f"validate: {'; '.join(result.critical)}; see {refused}")
    labels = f", {summary.label_masks} masks by their labels" if summary.label_masks else ""
    return f"validate: {len(manifest)} pairs, {len(quarantine)} quarantined{labels}"


def run_part(params: Params, root: Path, part: StagePart, folder: Path) -> str:
    """Leave in `folder` what is found of the pairs of a part."""
    count = inspect_part(root / "data", params.validate_, part, folder)
    return f"validate: part {part}: {count} pairs"


def log_problems(quarantine: pd.DataFrame, result: ValidationResult) -> None:
    """Log one line per problem."""
    for row in quarantine.head(LISTED).itertuples():
        log.warning("validate: %s: %s: %s; %s", row.path, row.reason, row.found, row.remedy)
    if len(quarantine) > LISTED:
        log.warning("validate: %d more in quarantine.csv", len(quarantine) - LISTED)
    for sentence in result.warnings:
        log.warning("validate: warning: %s", sentence)
    for sentence in result.critical:
        log.error("validate: critical: %s", sentence)
