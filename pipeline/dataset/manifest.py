"""The tables of a dataset: its manifest, a row per good pair, and its quarantine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.dataset.layout import METADATA_SUFFIX, Quarantined, list_sheets, same_name
from pipeline.dataset.metadata import KEY, Row, read_sheet
from pipeline.errors import DatasetError
from pipeline.table_files import TableFile, columns_of, table_of

MANIFEST_FILE = Path("artifacts/validate/manifest.parquet")
QUARANTINE_FILE = Path("artifacts/validate/quarantine.csv")
"""Both below the project's root."""


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """What is known of a good pair; paths are relative to data/, sizes in pixels."""

    image_id: str
    class_name: str
    image_path: str
    mask_path: str
    source: str = ""
    patient: str = ""
    spacing: float = math.nan
    """Of the radiograph, millimetres per pixel; NaN where its sheet does not say."""
    width: int
    height: int
    mode: str
    mask_width: int
    mask_height: int
    mask_labels: str = ""
    """Values of the mask that were taken for lung, with blanks between, unless 1 or 255 alone."""
    image_sha256: str
    mask_sha256: str
    pixel_sha256: str
    mask_pixel_sha256: str
    perceptual_hash: str
    mean: float
    """Of the grey values, 0..255."""
    std: float
    lung_area: float
    """Share of the mask."""
    components: int
    """Separate parts of the lung."""
    left_share: float
    """Of the lung area, what lies in the left half of the picture, 0..1."""
    flags: str = ""
    """What is odd about the pair: codes with blanks between."""
    notes: str = ""
    """How the radiograph's values were read where that is not as usual: sentences with "; "."""


MANIFEST = TableFile(columns_of(ManifestRow), "the stage validate")
QUARANTINE = TableFile(columns_of(Quarantined), "the stage validate")
PATIENT_COLUMNS = ("PATIENT", "PATIENT ID")
SOURCE_COLUMNS = ("URL",)
SPACING_COLUMNS = ("PIXEL SPACING",)


class Origin(NamedTuple):
    """What a sheet says of a radiograph."""

    source: str = ""
    patient: str = ""
    spacing: float = math.nan
    """Millimetres per pixel; NaN where there is no positive number."""


def manifest_table(rows: Iterable[ManifestRow]) -> pd.DataFrame:
    """The manifest of these rows."""
    return table_of(rows, MANIFEST.columns)


def quarantine_table(refused: Iterable[Quarantined]) -> pd.DataFrame:
    """The quarantine: image_id, path, reason, found, remedy; sorted by path."""
    return table_of(refused, QUARANTINE.columns).sort_values("path", ignore_index=True)


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
    """What is known of each radiograph by `origin_key`, from the sheets below `data`.

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
            origin = Origin(
                _value(row, SOURCE_COLUMNS),
                _value(row, PATIENT_COLUMNS),
                _spacing(_value(row, SPACING_COLUMNS)),
            )
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


def _spacing(text: str) -> float:
    """A number above 0, as a spacing of 0 occurs and means that it is not known."""
    try:
        spacing = float(text)
    except ValueError:
        return math.nan
    return spacing if 0 < spacing < math.inf else math.nan
