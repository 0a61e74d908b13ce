"""The tables of a dataset: its manifest, a row per good pair, and its quarantine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.conventions import STANDARD
from pipeline.dataset.layout import Quarantined
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
    study: str = ""
    convention: str = STANDARD
    """Of its mask: what the annotators took for lung."""
    convention_by: str = ""
    """Who says so: `sheet`, `import`, `person`, or nobody."""
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
    medial_left: str = ""
    """Where its lungs end towards the heart: of pipeline.dataset.validation.medial_borders."""
    medial_right: str = ""
    flags: str = ""
    """What is odd about the pair: codes with blanks between."""
    notes: str = ""
    """How the radiograph's values were read where that is not as usual: sentences with "; "."""


MANIFEST = TableFile(columns_of(ManifestRow), "the stage validate")
QUARANTINE = TableFile(columns_of(Quarantined), "the stage validate")


def manifest_table(rows: Iterable[ManifestRow]) -> pd.DataFrame:
    """The manifest of these rows."""
    return table_of(rows, MANIFEST.columns)


def quarantine_table(refused: Iterable[Quarantined]) -> pd.DataFrame:
    """The quarantine: image_id, path, reason, found, remedy; sorted by path."""
    return table_of(refused, QUARANTINE.columns).sort_values("path", ignore_index=True)


def label_conflicts(manifest: pd.DataFrame) -> Iterator[Quarantined]:
    """Every pair whose radiograph has another mask of the same convention in the dataset."""
    same = ["pixel_sha256", "convention"]
    masks = manifest.groupby(same)["mask_pixel_sha256"].transform("nunique")
    for _, group in manifest[masks > 1].groupby(same):
        for row in group.itertuples():
            others = group.loc[group["image_id"] != row.image_id, "image_id"]
            yield Quarantined(
                str(row.image_id),
                str(row.mask_path),
                "label_conflict",
                f"the same radiograph as {', '.join(others)}, whose mask differs",
                "keep the pair with the right mask and remove the others",
            )
