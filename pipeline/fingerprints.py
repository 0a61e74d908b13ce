"""Hashes that say which radiographs and which code a result belongs to.

The report writes them and the gate compares them, so neither can be about something else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

import pipeline
from pipeline.errors import StageError
from pipeline.files import sha256_file

CODE_FOLDERS = ("dataset", "model", "stages")

MODEL_FILES = ("model.keras", "model.onnx")
"""The network, to train on from and to predict with."""


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


def model_sha256(folder: Path) -> str:
    """One hash for both files of the network in `folder`, as `sha256sum` would list them.

    Raises StageError when one is missing.
    """
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise StageError(
            f"{folder / missing[0]}: no such file, expected the network as "
            f"{' and '.join(MODEL_FILES)}; run the stage train",
        )
    lines = sorted(f"{sha256_file(folder / name)}  {name}\n" for name in MODEL_FILES)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_split_sha256(rows: pd.DataFrame) -> str:
    """One hash for the test radiographs, from image_id and pixel_sha256 of the test rows.

    The order of the rows does not matter, other columns neither: the rows of per_image.parquet
    give the same hash as the test rows of split.csv.
    """
    return _rows_sha256(rows)


def data_sha256(split: pd.DataFrame) -> str:
    """One hash for all radiographs, from image_id and pixel_sha256 of every row of split.csv."""
    return _rows_sha256(split)


def code_sha256(package: Path = Path(pipeline.__file__).parent) -> str:
    """One hash for the code of the stages: path and bytes of each module, sorted by path."""
    digest = hashlib.sha256()
    modules = (file for folder in CODE_FOLDERS for file in (package / folder).rglob("*.py"))
    for name, file in sorted((file.relative_to(package).as_posix(), file) for file in modules):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _rows_sha256(rows: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for image_id, pixels in sorted(zip(rows["image_id"], rows["pixel_sha256"], strict=True)):
        digest.update(f"{image_id}\0{pixels}\n".encode())
    return digest.hexdigest()
