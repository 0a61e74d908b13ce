"""Split the radiographs into train, validation and test so that no patient is in two splits.

Each radiograph has a position from 0 to 1, a hash of its origin (pipeline/dataset/splits/groups.py)
or, without an origin, of its pixels: below `test` it is of the test split by itself, below
`test + val` of the validation split, else of training. A group takes the first of test, val, train
that one of its members has by itself.

Such a split needs no memory and no seed, and a radiograph in test stays in test in every later
version of the dataset. Proof: what a radiograph is by itself follows from its row alone, and a
later version only adds rows. Rows are linked by equality or closeness of the two rows alone, so no
link ever vanishes, and each group lies within one group of the later version. If a group is in the
test split, some member is so by itself; that member is in the later group, which therefore is in
the test split too. Order never enters. The proof needs the rows and `split` of params.yaml as they
were: whoever corrects a patient or lists another collection makes another split.

The price: a group of k positions is in test with probability 1 - (1 - test)**k, not `test`. No
rule with these promises can do better: two groups that are in the test split independently of each
other and are joined later must be there if either was. One patient, or one source, is one position,
so only merges by pictures of unknown or different patients cost; split.json says how much.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from pipeline.dataset.manifest import MANIFEST, MANIFEST_FILE
from pipeline.dataset.splits.groups import find_groups, find_origins, person_key
from pipeline.dataset.splits.leakage import find_leaks
from pipeline.dataset.splits.split_summary import SPLIT_SUMMARY_FILE, summarise_split
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SPLITS
from pipeline.errors import StageError
from pipeline.files import atomic_folder
from pipeline.params import Params, SplitParams

UNEQUAL = 0.01
FIRST = ("test", "val", "train")
"""A group takes the first of these that a member has."""


def run(params: Params, root: Path) -> str:
    """Write artifacts/split/: split.csv, and split.json which says how good the split is.

    Raises StageError when the manifest is missing, a class or an annotation convention misses a
    split, a source looks like a collection, or the written table breaks a rule of splits.
    """
    rows, merges = assign_splits(MANIFEST.read(root / MANIFEST_FILE), params.split)
    counts = count_splits(rows, "class_name")
    _refuse_missing_splits("class", counts, "remove the class")
    _refuse_missing_splits(
        "convention",
        count_splits(rows, "convention"),
        "record another convention of its pairs with `lungseg data convention`",
    )
    with atomic_folder(root / SPLIT_FILE.parent) as folder:
        SPLIT.write(folder / SPLIT_FILE.name, rows)
        _refuse_leaks(folder / SPLIT_FILE.name, rows["origin"].map(person_key))
        summary = summarise_split(rows, merges, params.split)
        summary.write(folder / SPLIT_SUMMARY_FILE.name)
    train, val, test = counts.sum()
    return f"split: {train} train, {val} val, {test} test in {rows['group'].nunique()} groups"


def assign_splits(
    manifest: pd.DataFrame,
    params: SplitParams,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the manifest with origin, group, position (0 to 1) and split; and the merges.

    The order of the manifest's rows does not matter. Raises StageError.
    """
    origins = find_origins(manifest, params)
    grouping = find_groups(manifest, origins, params.near_duplicate_distance)
    digests = origins.map(_sha256).where(origins != "", manifest["pixel_sha256"])
    rows = manifest.assign(
        origin=origins,
        group=grouping.names,
        position=digests.map(_position),
        spacing=mask_spacing(manifest),
    )
    alone = rows["position"].map(lambda position: FIRST.index(split_at(position, params)))
    rows["split"] = alone.groupby(rows["group"]).transform("min").map(dict(enumerate(FIRST)))
    return rows, grouping.merges


def mask_spacing(manifest: pd.DataFrame) -> pd.Series:
    """Millimetres per pixel of each mask, which may be smaller than its radiograph.

    NaN where the radiograph's is not known, or where the mask is scaled unequally by over 1 %.
    """
    across = manifest["width"] / manifest["mask_width"]
    down = manifest["height"] / manifest["mask_height"]
    equal = (across / down - 1).abs() <= UNEQUAL
    return (manifest["spacing"] * down).where(equal)


def split_at(position: float, params: SplitParams) -> str:
    """`train`, `val` or `test` for a position from 0 to 1."""
    if position < params.test:
        return "test"
    return "val" if position < params.test + params.val else "train"


def _sha256(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _position(sha256: str) -> float:
    return int(sha256[:13], 16) / 16**13  # 52 bits: all that a float holds


def count_splits(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Radiographs per value of the column `by` (rows) and split (columns)."""
    table = pd.crosstab(rows[by], rows["split"])
    return table.reindex(columns=list(SPLITS), fill_value=0)


def _refuse_missing_splits(kind: str, counts: pd.DataFrame, remedy: str) -> None:
    missing = [
        f"{name} has {in_splits.sum()} radiographs and none in {split}"
        for name, in_splits in counts.iterrows()
        for split in SPLITS
        if in_splits[split] == 0
    ]
    if missing:
        raise StageError(
            f"split: {kind} {f'; {kind} '.join(missing)}; add radiographs of it, {remedy}, or "
            "raise split.val and split.test",
        )


def _refuse_leaks(table: Path, origins: pd.Series) -> None:
    """Judge the table as it was written, which is what the later stages read."""
    leaks = find_leaks(SPLIT.read(table).assign(origin=origins.to_numpy()))
    if leaks:
        raise StageError(
            f"split: found {'; '.join(leaks)}, expected none; run the stage validate again, "
            "and report it as a defect if it stays so",
        )
