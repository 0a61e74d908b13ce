"""Split the radiographs into train, validation and test by a hash of their pixels.

The side of a radiograph follows from its content alone, so it never depends on order or on what
else is in the dataset: when the dataset grows, every radiograph keeps its side, and equal pictures
share one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import StageError
from pipeline.files import atomic_folder, write_json
from pipeline.params import Params, SplitParams

COLUMNS = ["image_id", "class_name", "image_path", "mask_path", "pixel_sha256", "split"]
SIDES = ("train", "val", "test")


def run(params: Params, root: Path) -> str:
    """Write artifacts/split/split.csv; raises StageError when a class misses a side."""
    manifest = pd.read_parquet(root / "artifacts/validate/manifest.parquet")
    manifest["split"] = [side(digest, params.split) for digest in manifest["pixel_sha256"]]
    counts = count_sides(manifest)
    _refuse_missing_sides(counts)
    with atomic_folder(root / "artifacts/split") as folder:
        manifest[COLUMNS].to_csv(folder / "split.csv", index=False, lineterminator="\n")
        write_json(folder / "split.json", _summary(counts))
    train, val, test = counts.sum()
    return f"split: {train} train, {val} val, {test} test"


def side(pixel_sha256: str, params: SplitParams) -> str:
    """`train`, `val` or `test` for a radiograph with this hash of its pixels."""
    position = int(pixel_sha256[:13], 16) / 16**13
    if position < params.test:
        return "test"
    return "val" if position < params.test + params.val else "train"


def count_sides(rows: pd.DataFrame) -> pd.DataFrame:
    """Radiographs per class (rows) and side (columns)."""
    table = pd.crosstab(rows["class_name"], rows["split"])
    return table.reindex(columns=list(SIDES), fill_value=0)


def _refuse_missing_sides(counts: pd.DataFrame) -> None:
    missing = [
        f"{name} has {sides.sum()} radiographs and none in {side_name}"
        for name, sides in counts.iterrows()
        for side_name in SIDES
        if sides[side_name] == 0
    ]
    if missing:
        raise StageError(
            f"split: class {'; class '.join(missing)}; add radiographs of it, remove the class, "
            "or raise split.val and split.test",
        )


def _summary(counts: pd.DataFrame) -> dict[str, Any]:
    classes = {
        str(name): {side_name: int(sides[side_name]) for side_name in SIDES}
        for name, sides in counts.iterrows()
    }
    totals: dict[str, Any] = {str(name): int(total) for name, total in counts.sum().items()}
    return {**totals, "classes": classes}
