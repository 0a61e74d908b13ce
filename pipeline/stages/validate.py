"""Validate the dataset: a manifest of the good pairs, a quarantine of the bad, and a verdict.

Every pair is read and decoded once. What cannot be trained on is set aside with a reason and a
remedy; Great Expectations then judges the tables, and a critical failure stops the run.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.dataset.validation.drift import PREVIOUS, shift_table
from pipeline.dataset.validation.expectations import Verdict, judge
from pipeline.dataset.validation.gallery import write_page
from pipeline.dataset.validation.whole import inspect_dataset
from pipeline.errors import DatasetError, StageError
from pipeline.files import atomic_folder, read_json, write_json
from pipeline.params import Params

log = logging.getLogger(__name__)

LISTED = 50  # quarantined files that the log names


@dataclass(frozen=True)
class Tables:
    """What is known of the dataset."""

    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    shifts: pd.DataFrame


def run(params: Params, root: Path) -> str:
    """Write artifacts/validate/; raises StageError on a critical failure.

    What a refused dataset looked like is left in artifacts/validate-refused/, which no stage reads.
    """
    previous = _read_previous(root / PREVIOUS)
    manifest, quarantine = inspect_dataset(root / "data", params.validate_)
    tables = Tables(manifest, quarantine, shift_table(manifest, previous))
    refused = root / "artifacts/validate-refused"
    with tempfile.TemporaryDirectory() as temporary:
        docs = Path(temporary, "data_docs")
        verdict = judge(manifest, quarantine, tables.shifts, params.validate_, docs)
        shutil.rmtree(refused, ignore_errors=True)
        with atomic_folder(refused if verdict.critical else root / "artifacts/validate") as folder:
            shutil.copytree(docs, folder / "data_docs")
            _write(folder, root / "data", tables, verdict)
    tell(quarantine, verdict)
    if verdict.critical:
        raise StageError(f"validate: {'; '.join(verdict.critical)}; see {refused}")
    return f"validate: {len(manifest)} pairs, {len(quarantine)} quarantined"


def _read_previous(path: Path) -> dict[str, Any]:
    """The profile of the former dataset version; empty when there was none."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path}: not readable as JSON ({error}); bring it back with `git checkout {path.name}`"
        ) from None
    if not isinstance(content, dict):
        raise DatasetError(
            f"{path}: holds {type(content).__name__}, expected names and numbers; bring it back "
            f"with `git checkout {path.name}`"
        )
    return content


def _write(folder: Path, data: Path, tables: Tables, verdict: Verdict) -> None:
    tables.manifest.to_parquet(folder / "manifest.parquet", index=False)
    tables.quarantine.to_csv(folder / "quarantine.csv", index=False, lineterminator="\n")
    write_json(folder / "validation.json", _summary(tables, verdict))
    write_page(folder / "page", data, tables.manifest, tables.quarantine, tables.shifts)


def tell(quarantine: pd.DataFrame, verdict: Verdict) -> None:
    """Log one line per problem."""
    for row in quarantine.head(LISTED).itertuples():
        log.warning("validate: %s: %s: %s; %s", row.path, row.reason, row.found, row.remedy)
    if len(quarantine) > LISTED:
        log.warning("validate: %d more in quarantine.csv", len(quarantine) - LISTED)
    for sentence in verdict.warnings:
        log.warning("validate: warning: %s", sentence)
    for sentence in verdict.critical:
        log.error("validate: critical: %s", sentence)


def _summary(tables: Tables, verdict: Verdict) -> dict[str, Any]:
    by_class = tables.manifest.groupby("class_name")
    areas = by_class["lung_area"].median().round(4)
    flags = Counter(code for codes in tables.manifest["flags"] for code in codes.split())
    return {
        "pairs": len(tables.manifest),
        "quarantined": len(tables.quarantine),
        "reasons": dict(sorted(Counter(tables.quarantine["reason"]).items())),
        "flags": dict(sorted(flags.items())),
        "classes": {str(name): len(rows) for name, rows in by_class},
        "median_lung_area": {str(name): float(area) for name, area in areas.items()},
        "shifts": _by_subject(tables.shifts),
        "critical": len(verdict.critical),
        "warnings": len(verdict.warnings),
    }


def _by_subject(shifts: pd.DataFrame) -> dict[str, float]:
    """Shifts by quantity, class and reference; without those that are no number."""
    known = shifts[np.isfinite(shifts["shift"])]
    names = known["quantity"] + " " + known["class_name"] + " " + known["against"]
    return dict(zip(names, known["shift"].round(4).tolist(), strict=True))
