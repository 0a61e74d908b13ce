"""split.csv: which radiograph is in which split, and the hashes that name its radiographs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from pipeline.errors import StageError


def read_split(path: Path) -> pd.DataFrame:
    """The rows of split.csv, all columns as text; raises StageError when it is not there."""
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected the split; run the stage split first")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def select_test(split: pd.DataFrame) -> pd.DataFrame:
    """The test rows of a split, sorted by image_id; raises StageError when there are none."""
    rows = split[split["split"] == "test"].sort_values("image_id", ignore_index=True)
    if rows.empty:
        raise StageError(
            f"split.csv: found no test rows among {len(split)}, expected at least one; raise "
            "split.test or add radiographs",
        )
    return rows


def test_split_sha256(rows: pd.DataFrame) -> str:
    """One hash for the test radiographs, from image_id and pixel_sha256 of the test rows.

    The order of the rows does not matter, other columns neither: the rows of per_image.parquet
    give the same hash as the test rows of split.csv.
    """
    return _rows_sha256(rows)


def data_sha256(split: pd.DataFrame) -> str:
    """One hash for all radiographs, from image_id and pixel_sha256 of every row of split.csv."""
    return _rows_sha256(split)


def _rows_sha256(rows: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for image_id, pixels in sorted(zip(rows["image_id"], rows["pixel_sha256"], strict=True)):
        digest.update(f"{image_id}\0{pixels}\n".encode())
    return digest.hexdigest()
