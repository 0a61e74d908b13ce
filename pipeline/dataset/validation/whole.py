"""Validation of a whole dataset: every pair read once, on all cores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.dataset.layout import Pair, Quarantined, list_dataset
from pipeline.dataset.manifest import (
    label_conflicts,
    manifest_table,
    quarantine_table,
)
from pipeline.dataset.metadata.origins import Origin, Origins, SheetFinding, read_origins
from pipeline.dataset.metadata.told_conventions import settle_conventions
from pipeline.dataset.validation.pairs import GoodPair, inspect_pair
from pipeline.dataset.validation.part_files import read_part, write_part
from pipeline.dataset.validation.plausibility import orientation_flags
from pipeline.dataset.validation.resemblance import find_doubtful
from pipeline.params import ValidateParams
from pipeline.parts import WHOLE, StagePart
from pipeline.table_files import columns_of, table_of
from pipeline.worker_pool import open_workers, translated_kill, usable_cores

CHUNK = 32  # pairs per task of a worker: some tenths of a second


@dataclass(frozen=True)
class DatasetTables:
    """What is known of a dataset."""

    manifest: pd.DataFrame
    """A row per good pair."""
    quarantine: pd.DataFrame
    """A row per pair or file that is set aside."""
    shifts: pd.DataFrame
    """How its classes differ: of pipeline.dataset.validation.drift.shift_table."""
    origins: Origins = field(default_factory=Origins)
    """What its metadata sheets say."""

    @cached_property
    def doubtful(self) -> pd.DataFrame:
        """doubtful_conventions.csv: a row per pair whose mask looks like another convention."""
        return find_doubtful(self.manifest)

    @property
    def sheets(self) -> pd.DataFrame:
        """A row per thing in the sheets that is not used: finding (a sentence), kind."""
        return table_of(self.origins.findings, columns_of(SheetFinding))


def inspect_dataset(
    data: Path,
    params: ValidateParams | None = None,
    parts: Sequence[tuple[StagePart, Path | None]] = ((WHOLE, None),),
) -> tuple[pd.DataFrame, pd.DataFrame, Origins]:
    """Read every pair below `data` once, on all cores, but those of `parts` that have a folder.

    Returns the manifest (a row per good pair, sorted by image_id), the quarantine, and what the
    sheets say. Without `params` no mask is flagged. Raises DatasetError when there is no pair at
    all, StageError when a part is of other pairs, and CrashedError when a process is killed.
    """
    listing = list_dataset(data)
    refused, good = list(listing.refused), []
    for part, folder in parts:
        pairs = part.of(listing.pairs)
        found = read_part(folder, pairs) if folder else _inspect_all(data, pairs, params)
        for result in found:
            if isinstance(result, Quarantined):
                refused.append(result)
            else:
                good.append(result)
    good.sort(key=lambda one: one.row.image_id)
    origins = read_origins(data, listing, params.columns if params else None)
    masks = {one.row.image_id: one.row.mask_sha256 for one in good}
    settle_conventions(data, listing, origins, masks.get)
    known = origins.by_image_id
    manifest = manifest_table(
        replace(one.row, **known.get(one.row.image_id, Origin())._asdict()) for one in good
    )
    conflicts = list(label_conflicts(manifest))
    kept = ~manifest["image_id"].isin({one.image_id for one in conflicts})
    manifest = _with_orientation(manifest, good)[kept].reset_index(drop=True)
    return manifest, quarantine_table([*refused, *origins.refused, *conflicts]), origins


def inspect_part(data: Path, params: ValidateParams, part: StagePart, folder: Path) -> int:
    """Read the pairs of a part and leave in `folder` what was found; how many there are."""
    pairs = part.of(list_dataset(data).pairs)
    write_part(folder, list(_inspect_all(data, pairs, params)))
    return len(pairs)


def _inspect_all(
    data: Path, pairs: Sequence[Pair], params: ValidateParams | None
) -> Iterator[GoodPair | Quarantined]:
    if not pairs:
        return
    workers = min(usable_cores(), math.ceil(len(pairs) / CHUNK))
    with translated_kill("validate", workers), open_workers(workers) as pool:
        yield from pool.map(inspect_pair, repeat(data), pairs, repeat(params), chunksize=CHUNK)


def _with_orientation(manifest: pd.DataFrame, good: Sequence[GoodPair]) -> pd.DataFrame:
    """Add the flags that need the whole dataset; `good` are the pairs of the manifest's rows."""
    if manifest.empty:
        return manifest
    flags = orientation_flags(np.stack([one.thumbnail for one in good]))
    joined = [
        " ".join([*own.split(), *codes])
        for own, codes in zip(manifest["flags"], flags, strict=True)
    ]
    return manifest.assign(flags=pd.Series(joined, dtype=manifest["flags"].dtype))
