"""The tables of a dataset: its manifest, a row per good pair, and its quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.dataset.layout import METADATA_SUFFIX, Quarantined, list_sheets, same_name
from pipeline.dataset.metadata import KEY, Row, read_sheet
from pipeline.errors import DatasetError

TEXT, COUNT, NUMBER = "str", "int64", "float64"
MANIFEST = {
    "image_id": TEXT,
    "class_name": TEXT,
    "image_path": TEXT,
    "mask_path": TEXT,
    "source": TEXT,
    "patient": TEXT,
    "width": COUNT,
    "height": COUNT,
    "mode": TEXT,
    "mask_width": COUNT,
    "mask_height": COUNT,
    "image_sha256": TEXT,
    "mask_sha256": TEXT,
    "pixel_sha256": TEXT,
    "mask_pixel_sha256": TEXT,
    "perceptual_hash": TEXT,
    "mean": NUMBER,
    "std": NUMBER,
    "lung_area": NUMBER,
    "components": COUNT,
    "left_share": NUMBER,
    "flags": TEXT,
}
"""The manifest's columns and their types, in order."""
PATIENT_COLUMNS = ("PATIENT", "PATIENT ID")
SOURCE_COLUMNS = ("URL",)
Origin = tuple[str, str]  # source and patient


def manifest_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The manifest of these rows, which are in its order."""
    return pd.DataFrame(list(rows), columns=list(MANIFEST)).astype(MANIFEST)


def quarantine_table(refused: Iterable[Quarantined]) -> pd.DataFrame:
    """The quarantine: image_id, path, reason, found, remedy; sorted by path."""
    columns = [field.name for field in fields(Quarantined)]
    table = pd.DataFrame([asdict(one) for one in refused], columns=columns).astype("str")
    return table.sort_values("path", ignore_index=True)


def label_conflicts(manifest: pd.DataFrame) -> Iterator[Quarantined]:
    """Every pair whose radiograph has another mask elsewhere in the dataset."""
    masks = manifest.groupby("pixel_sha256")["mask_pixel_sha256"].transform("nunique")
    for _, group in manifest[masks > 1].groupby("pixel_sha256"):
        for row in group.itertuples():
            others = group.loc[group["image_id"] != row.image_id, "image_id"]
            yield Quarantined(
                str(row.image_id),
                str(row.mask_path),
                "label_conflict",
                f"the same radiograph as {', '.join(others)}, whose mask differs",
                "keep the pair with the right mask and remove the others",
            )


def read_origins(data: Path) -> tuple[dict[str, Origin], list[Quarantined]]:
    """Source and patient by `origin_key`, from the sheets below `data`.

    A class without a sheet is normal. A damaged sheet is refused as `metadata`: its class goes on
    with unknown patients.
    """
    origins: dict[str, Origin] = {}
    refused = []
    for sheet in list_sheets(data):
        class_name = sheet.name.removesuffix(METADATA_SUFFIX)
        try:
            rows = read_sheet(sheet)
        except DatasetError as error:
            message = str(error).removeprefix(f"{sheet}: ")
            refused.append(Quarantined.of_message("", sheet.name, "metadata", message))
            continue
        for row in rows.values():
            origin = _value(row, SOURCE_COLUMNS), _value(row, PATIENT_COLUMNS)
            origins[origin_key(class_name, str(row[KEY]))] = origin
    return origins, refused


def origin_key(class_name: str, name: str) -> str:
    """A key by which a sheet's FILE NAME finds its file: NORMAL-1 is Normal-1.png."""
    return same_name(f"{class_name}/{name.strip()}").removesuffix(".png")


def _value(row: Row, columns: tuple[str, ...]) -> str:
    for column, value in row.items():
        if column.upper() in columns and value is not None:
            return str(value).strip()
    return ""
