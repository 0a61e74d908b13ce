"""split.csv: which radiograph is in which split, and the hashes that name its radiographs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.conventions import STANDARD
from pipeline.errors import StageError
from pipeline.table_files import TableFile, columns_of, rows_of

SPLIT_FILE = Path("artifacts/split/split.csv")
"""Below the project's root."""

SHARES = {
    "train": "lower split.val and split.test",
    "val": "raise split.val",
    "test": "raise split.test",
}
"""The splits, and what gives each more radiographs."""
SPLITS = tuple(SHARES)


@dataclass(frozen=True)
class SplitRow:
    """A pair of the dataset and its split; both paths are relative to data/."""

    image_id: str
    class_name: str
    image_path: str
    mask_path: str
    image_sha256: str
    mask_sha256: str
    pixel_sha256: str
    group: str
    """The smallest image_id of those that must be in one split."""
    source: str
    """Where the radiograph is from, as its sheet says; may be empty."""
    spacing: float
    """Of the mask, millimetres per pixel; NaN where it is not known."""
    split: str
    """train, val or test."""
    convention: str = STANDARD
    """Of the mask, and who says so, as in the manifest."""
    convention_by: str = ""


SPLIT = TableFile(columns_of(SplitRow), "the stage split")


def select_split(split: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of the split `name`, sorted by image_id; raises StageError when there are none."""
    rows = split[split["split"] == name].sort_values("image_id", ignore_index=True)
    if rows.empty:
        raise StageError(
            f"split.csv: found no {name} rows among {len(split)}, expected at least one; "
            f"{SHARES[name]} or add radiographs",
        )
    return rows


def split_rows(split: pd.DataFrame) -> list[SplitRow]:
    """Each row of split.csv, or of a part of it."""
    return rows_of(split, SplitRow)


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
