"""What inspecting a part of the dataset found, as files that another host can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.dataset.layout import Pair, Quarantined
from pipeline.dataset.manifest import (
    MANIFEST,
    QUARANTINE,
    ManifestRow,
    manifest_table,
    quarantine_table,
)
from pipeline.dataset.validation.pairs import GoodPair
from pipeline.errors import StageError
from pipeline.table_files import rows_of

GOOD, BAD, THUMBNAILS = "manifest.parquet", "quarantine.parquet", "thumbnails.npy"


def write_part(folder: Path, results: Sequence[GoodPair | Quarantined]) -> None:
    """Write what was found of the pairs of a part."""
    good = [one for one in results if isinstance(one, GoodPair)]
    bad = [one for one in results if isinstance(one, Quarantined)]
    MANIFEST.write(folder / GOOD, manifest_table(one.row for one in good))
    QUARANTINE.write(folder / BAD, quarantine_table(bad))
    thumbnails = [one.thumbnail for one in good]
    np.save(folder / THUMBNAILS, np.array(thumbnails, np.float32), allow_pickle=False)


def read_part(folder: Path, pairs: Sequence[Pair]) -> list[GoodPair | Quarantined]:
    """What was found of these pairs; raises StageError when the part is of others."""
    rows = rows_of(MANIFEST.read(folder / GOOD), ManifestRow)
    bad = rows_of(QUARANTINE.read(folder / BAD), Quarantined)
    thumbnails = np.load(folder / THUMBNAILS, allow_pickle=False)
    good = [GoodPair(row, thumbnail) for row, thumbnail in zip(rows, thumbnails, strict=True)]
    found = sorted([one.image_id for one in rows] + [one.image_id for one in bad])
    if found != sorted(pair.image_id for pair in pairs):
        raise StageError(
            f"{folder}: is of {len(found)} pairs, expected the {len(pairs)} of this part; remove "
            "it, then try again"
        )
    return [*good, *bad]
