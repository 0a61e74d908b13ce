"""Split the radiographs into train, validation and test so that no patient is on two sides.

Each radiograph has a position from 0 to 1, a hash of its record (pipeline/dataset/splits/groups.py)
or, without a record, of its pixels: below `test` it is of the test side by itself, below
`test + val` of the validation side, else of training. A group takes the first of test, val, train
that one of its members has by itself.

Such a split needs no memory and no seed, and a radiograph in test stays in test in every later
version of the dataset. Proof: what a radiograph is by itself follows from its row alone, and a
later version only adds rows. Rows are linked by equality or closeness of the two rows alone, so no
link ever vanishes, and each group lies within one group of the later version. If a group is on the
test side, some member is so by itself; that member is in the later group, which therefore is on the
test side too. Order never enters. The proof needs the rows and `split` of params.yaml as they were:
whoever corrects a patient or lists another collection makes another split.

The price: a group of k positions is in test with probability 1 - (1 - test)**k, not `test`. No
rule with these promises can do better: two groups that are on the test side independently of each
other and are joined later must be there if either was. One patient, or one source, is one position,
so only merges by pictures of unknown or different patients cost; split.json says how much.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.dataset.splits.groups import find_groups, find_records
from pipeline.dataset.splits.leakage import SIDES, find_leaks
from pipeline.errors import StageError
from pipeline.files import atomic_folder, write_json
from pipeline.params import Params, SplitParams

COLUMNS = [
    "image_id",
    "class_name",
    "image_path",
    "mask_path",
    "image_sha256",
    "mask_sha256",
    "pixel_sha256",
    "group",
    "split",
]
FIRST = ("test", "val", "train")
"""A group takes the first of these that a member has."""


def run(params: Params, root: Path) -> str:
    """Write artifacts/split/: split.csv, and split.json which says how good the split is.

    Raises StageError when a class misses a side, a source looks like a collection, or the written
    table breaks a rule of splits.
    """
    manifest = pd.read_parquet(root / "artifacts/validate/manifest.parquet")
    rows, merges = assign_sides(manifest, params.split)
    counts = count_sides(rows)
    _refuse_missing_sides(counts)
    with atomic_folder(root / "artifacts/split") as folder:
        rows[COLUMNS].to_csv(folder / "split.csv", index=False, lineterminator="\n")
        _refuse_leaks(folder / "split.csv", rows["record"])
        summary = {**summarise(rows, params.split), "merges": merges}
        write_json(folder / "split.json", summary)
    train, val, test = counts.sum()
    return f"split: {train} train, {val} val, {test} test in {rows['group'].nunique()} groups"


def assign_sides(
    manifest: pd.DataFrame,
    params: SplitParams,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the manifest with record, group, position (0 to 1) and split; and the merges.

    The order of the manifest's rows does not matter. Raises StageError.
    """
    records = find_records(manifest, params)
    grouping = find_groups(manifest, records, params.near_duplicate_distance)
    digests = records.map(_sha256).where(records != "", manifest["pixel_sha256"])
    rows = manifest.assign(
        record=records,
        group=grouping.names,
        position=digests.map(_position),
    )
    alone = rows["position"].map(lambda position: FIRST.index(side(position, params)))
    rows["split"] = alone.groupby(rows["group"]).transform("min").map(dict(enumerate(FIRST)))
    return rows, grouping.merges


def side(position: float, params: SplitParams) -> str:
    """`train`, `val` or `test` for a position from 0 to 1."""
    if position < params.test:
        return "test"
    return "val" if position < params.test + params.val else "train"


def _sha256(record: str) -> str:
    return hashlib.sha256(record.encode()).hexdigest()


def _position(sha256: str) -> float:
    return int(sha256[:13], 16) / 16**13  # 52 bits: all that a float holds


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


def _refuse_leaks(table: Path, records: pd.Series) -> None:
    """Judge the table as it was written, which is what the later stages read."""
    written = pd.read_csv(table, dtype=str, keep_default_na=False)
    leaks = find_leaks(written.assign(record=records.to_numpy()))
    if leaks:
        raise StageError(
            f"split: found {'; '.join(leaks)}, expected none; run the stage validate again, "
            "and report it as a defect if it stays so",
        )


def summarise(rows: pd.DataFrame, params: SplitParams) -> dict[str, Any]:
    """What split.json says, beside the merges: counts, shares and groups."""
    wanted = {"train": 1 - params.val - params.test, "val": params.val, "test": params.test}
    sizes = rows["group"].value_counts()
    return {
        **_tally(rows["split"], wanted),
        "classes": {
            str(name): _tally(sides, wanted) for name, sides in rows.groupby("class_name")["split"]
        },
        **_expected(rows, params),
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
        "group_sizes": [
            {"radiographs": size, "groups": groups}
            for size, groups in sorted(Counter(sizes.tolist()).items())
        ],
        "groups_of_several_classes": _groups_of_several(rows, "class_name"),
        "groups_of_several_patients": _groups_of_several(rows[rows["patient"] != ""], "patient"),
    }


def _tally(sides: pd.Series, wanted: dict[str, float]) -> dict[str, float]:
    """How many radiographs each side has, their share, and how far it is from the share wanted."""
    counts = {name: int((sides == name).sum()) for name in SIDES}
    shares = {name: count / len(sides) for name, count in counts.items()}
    return {
        **counts,
        **{f"{name}_share": round(shares[name], 4) for name in SIDES},
        **{f"{name}_deviation": round(shares[name] - wanted[name], 4) for name in SIDES},
    }


def _expected(rows: pd.DataFrame, params: SplitParams) -> dict[str, float]:
    """Shares to be expected of these groups: above `test` by what joined groups cost."""
    positions = rows.groupby("group")["position"].transform("nunique")
    test = 1 - float(((1 - params.test) ** positions).mean())
    train = float(((1 - params.test - params.val) ** positions).mean())
    expected = {"train": train, "val": 1 - train - test, "test": test}
    return {f"{name}_expected": round(expected[name], 4) for name in SIDES}


def _groups_of_several(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """The groups with more than one value of `column`: their name and radiographs."""
    values = rows.groupby("group")[column].transform("nunique")
    return [
        {"group": str(name), "radiographs": sorted(members["image_id"])}
        for name, members in rows[values > 1].groupby("group")
    ]
