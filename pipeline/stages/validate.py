"""Validate the dataset: a manifest of the good pairs, a quarantine of the bad, and a verdict.

Every pair is decoded once. What cannot be trained on is set aside with a reason; Great Expectations
then judges the manifest, and a critical failure stops the run.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.dataset.expectations import Verdict, judge
from pipeline.dataset.layout import Listing, Pair, list_dataset
from pipeline.dataset.radiograph import Grey, pixel_sha256, read_mask, read_radiograph
from pipeline.errors import StageError, UnreadableError
from pipeline.files import atomic_folder, sha256_file, write_json
from pipeline.params import Params

log = logging.getLogger(__name__)

EXPORTED_MASK_SIZE = (256, 256)  # the database stores its masks so, whatever the image's size
FLAT = 2.0  # a standard deviation below this, of 0..255, is no radiograph


@dataclass(frozen=True)
class Quarantined:
    """One file or pair that was set aside."""

    path: str
    reason: str
    found: str


def run(params: Params, root: Path) -> str:
    """Write artifacts/validate/; raises StageError on a critical failure.

    What a refused dataset looked like is left in artifacts/validate-refused/, which no stage reads.
    """
    manifest, quarantine = inspect_dataset(root / "data")
    with tempfile.TemporaryDirectory() as temporary:
        docs = Path(temporary, "data_docs")
        verdict = judge(manifest, quarantine, params.validate_, docs)
        refused = root / "artifacts/validate-refused"
        shutil.rmtree(refused, ignore_errors=True)
        with atomic_folder(refused if verdict.critical else root / "artifacts/validate") as folder:
            # The tutorial's animations are 3 MB of the 4 MB, in every version of the dataset.
            ignored = shutil.ignore_patterns("*.gif")
            shutil.copytree(docs, folder / "data_docs", ignore=ignored)
            manifest.to_parquet(folder / "manifest.parquet", index=False)
            quarantine.to_csv(folder / "quarantine.csv", index=False, lineterminator="\n")
            write_json(folder / "validation.json", _summary(manifest, quarantine, verdict))
    if verdict.critical:
        raise StageError(f"validate: {'; '.join(verdict.critical)}; see {refused}")
    for warning in verdict.warnings:
        log.warning("validate: warning: %s", warning)
    return f"validate: {len(manifest)} pairs, {len(quarantine)} quarantined"


def inspect_dataset(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode every pair below `data`, on all cores.

    Returns the manifest (a row per good pair) and the quarantine (path, reason, found).
    """
    listing = list_dataset(data)
    workers = min(os.cpu_count() or 1, len(listing.pairs))
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        results = list(pool.map(_inspect, [data] * len(listing.pairs), listing.pairs, chunksize=32))
    rows = [result for result in results if isinstance(result, dict)]
    bad = [result for result in results if isinstance(result, Quarantined)]
    return _manifest(rows), _quarantine([*_unpaired(listing), *bad])


def _manifest(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = [
        "image_id",
        "class_name",
        "image_path",
        "mask_path",
        "image_sha256",
        "mask_sha256",
        "pixel_sha256",
        "width",
        "height",
        "mask_width",
        "mask_height",
        "mean",
        "std",
        "lung_area",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values("image_id", ignore_index=True)


def _quarantine(bad: list[Quarantined]) -> pd.DataFrame:
    table = pd.DataFrame([vars(entry) for entry in bad], columns=["path", "reason", "found"])
    return table.sort_values("path", ignore_index=True)


def _unpaired(listing: Listing) -> list[Quarantined]:
    return [
        Quarantined(path.as_posix(), "unpaired", "no file of the same name on the other side")
        for path in listing.unpaired
    ]


def _inspect(data: Path, pair: Pair) -> dict[str, Any] | Quarantined:
    path = pair.image
    try:
        image = read_radiograph(data / pair.image)
        _refuse_flat(image)
        path = pair.mask
        mask = read_mask(data / pair.mask)
        _refuse_implausible(mask, image)
    except UnreadableError as error:
        found = str(error).removeprefix(f"{data / path}: ")
        return Quarantined(path.as_posix(), error.reason, found)
    return _row(data, pair, image, mask)


def _refuse_flat(image: Grey) -> None:
    if image.std() < FLAT:
        raise UnreadableError("constant", f"grey values hardly vary (std {image.std():.2f})")


def _refuse_implausible(mask: Grey, image: Grey) -> None:
    if mask.shape not in (image.shape, EXPORTED_MASK_SIZE):
        raise UnreadableError(
            "mask_size",
            f"mask is {_size(mask)}, expected the image's {_size(image)} or 256x256",
        )
    if not mask.any():
        raise UnreadableError("mask_empty", "mask has no lung")
    if mask.all():
        raise UnreadableError("mask_full", "mask is lung everywhere")


def _size(image: Grey) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _row(data: Path, pair: Pair, image: Grey, mask: Grey) -> dict[str, Any]:
    return {
        "image_id": pair.image_id,
        "class_name": pair.class_name,
        "image_path": pair.image.as_posix(),
        "mask_path": pair.mask.as_posix(),
        "image_sha256": sha256_file(data / pair.image),
        "mask_sha256": sha256_file(data / pair.mask),
        "pixel_sha256": pixel_sha256(image),
        "width": image.shape[1],
        "height": image.shape[0],
        "mask_width": mask.shape[1],
        "mask_height": mask.shape[0],
        "mean": float(image.mean(dtype=np.float64)),
        "std": float(image.std(dtype=np.float64)),
        "lung_area": float(mask.mean(dtype=np.float64)),
    }


def _summary(manifest: pd.DataFrame, quarantine: pd.DataFrame, verdict: Verdict) -> dict[str, Any]:
    by_class = manifest.groupby("class_name")
    areas = by_class["lung_area"].median().round(4)
    return {
        "pairs": len(manifest),
        "quarantined": len(quarantine),
        "reasons": dict(sorted(Counter(quarantine["reason"]).items())),
        "classes": {str(name): len(rows) for name, rows in by_class},
        "median_lung_area": {str(name): float(area) for name, area in areas.items()},
        "critical": len(verdict.critical),
        "warnings": len(verdict.warnings),
    }
