"""Validate the dataset: a manifest of the good pairs, a quarantine of the bad, and a verdict.

Every pair is read and decoded once. What cannot be trained on is set aside with a reason and a
remedy; Great Expectations then judges the tables, and a critical failure stops the run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.dataset.drift import PREVIOUS, shift_table
from pipeline.dataset.expectations import Verdict, judge
from pipeline.dataset.gallery import write_page
from pipeline.dataset.layout import Pair, Quarantined, list_dataset
from pipeline.dataset.manifest import (
    label_conflicts,
    manifest_table,
    origin_key,
    quarantine_table,
    read_origins,
)
from pipeline.dataset.pairs import Inspected, inspect_pair, use_one_thread
from pipeline.dataset.plausibility import orientation_flags
from pipeline.errors import DatasetError, StageError
from pipeline.files import atomic_folder, read_json, write_json
from pipeline.params import Params, ValidateParams

log = logging.getLogger(__name__)

CHUNK = 32  # pairs per task of a worker: some tenths of a second
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


def inspect_dataset(
    data: Path, params: ValidateParams | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read every pair below `data` once, on all cores.

    Returns the manifest (a row per good pair, sorted by image_id) and the quarantine. Without
    `params` no mask is flagged. Raises DatasetError when there is no pair at all.
    """
    listing = list_dataset(data)
    refused, good = list(listing.refused), []
    for result in _inspect_all(data, listing.pairs, params):
        if isinstance(result, Quarantined):
            refused.append(result)
        else:
            good.append(result)
    good.sort(key=lambda one: str(one.row["image_id"]))
    origins, damaged = read_origins(data)
    manifest = manifest_table([_with_origin(one.row, origins) for one in good])
    conflicts = list(label_conflicts(manifest))
    kept = ~manifest["image_id"].isin({one.image_id for one in conflicts})
    manifest = _with_orientation(manifest, good)[kept].reset_index(drop=True)
    return manifest, quarantine_table([*refused, *damaged, *conflicts])


def _inspect_all(
    data: Path, pairs: Sequence[Pair], params: ValidateParams | None
) -> Iterator[Inspected | Quarantined]:
    workers = min(len(os.sched_getaffinity(0)), math.ceil(len(pairs) / CHUNK))
    # Not fork: the caller may hold threads, and those of its libraries do not survive it.
    with ProcessPoolExecutor(workers, get_context("forkserver"), use_one_thread) as pool:
        yield from pool.map(inspect_pair, repeat(data), pairs, repeat(params), chunksize=CHUNK)


def _with_origin(row: dict[str, Any], origins: dict[str, tuple[str, str]]) -> dict[str, Any]:
    class_name, _, name = str(row["image_id"]).partition("/")
    source, patient = origins.get(origin_key(class_name, name), ("", ""))
    return row | {"source": source, "patient": patient}


def _with_orientation(manifest: pd.DataFrame, good: Sequence[Inspected]) -> pd.DataFrame:
    """Add the flags that need the whole dataset; `good` are the pairs of the manifest's rows."""
    if manifest.empty:
        return manifest
    flags = orientation_flags(np.stack([one.thumbnail for one in good]))
    joined = [
        " ".join([*own.split(), *codes])
        for own, codes in zip(manifest["flags"], flags, strict=True)
    ]
    return manifest.assign(flags=pd.Series(joined, dtype=manifest["flags"].dtype))


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
