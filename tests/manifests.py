"""Manifests for tests: what the stage validate would have written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.conventions import STANDARD
from pipeline.dataset.manifest import MANIFEST, MANIFEST_FILE, ManifestRow
from pipeline.table_files import TEXT


def digest(content: object) -> str:
    """A SHA-256 that stands for `content`."""
    return hashlib.sha256(str(content).encode()).hexdigest()


def look(content: object, differing: int = 0) -> str:
    """A perceptual hash of 400 bits that stands for `content`, with so many bits flipped."""
    text = "".join(digest(f"{content} {part}") for part in range(2))[:100]
    return f"{int(text, 16) ^ (1 << differing) - 1:0100x}"


def manifest_row(**given: Any) -> ManifestRow:
    """A row of the manifest with something in the fields that are not given."""
    blank = {name: "" if kind == TEXT else 1 for name, kind in MANIFEST.columns.items()}
    blank["convention"] = STANDARD
    return ManifestRow(**{**blank, **given})


def make_manifest(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each of `rows`, which name what matters; pictures differ unless they say so."""
    return pd.DataFrame([_row(number, given) for number, given in enumerate(rows)])


def _row(number: int, given: Mapping[str, Any]) -> dict[str, Any]:
    class_name = given.get("class_name", "Normal")
    image_id = given.get("image_id", f"{class_name}/{class_name}-{number}")
    name = image_id.split("/")[1]
    return {
        "image_id": image_id,
        "class_name": class_name,
        "image_path": f"{class_name}/images/{name}.png",
        "mask_path": f"{class_name}/masks/{name}.png",
        "source": "",
        "patient": "",
        "study": "",
        "convention": STANDARD,
        "convention_by": "",
        "spacing": math.nan,
        "width": 299,
        "height": 299,
        "mask_width": 256,
        "mask_height": 256,
        "image_sha256": digest(f"image {image_id}"),
        "mask_sha256": digest(f"mask {image_id}"),
        "pixel_sha256": digest(image_id),
        "perceptual_hash": look(image_id),
        **given,
    }


def write_manifest(root: Path, manifest: pd.DataFrame) -> None:
    """Write it where the stage validate would, with something in the other columns."""
    blank = {name: "" if kind == TEXT else 1 for name, kind in MANIFEST.columns.items()}
    others = {name: value for name, value in blank.items() if name not in manifest}
    MANIFEST.write(root / MANIFEST_FILE, manifest.assign(**others))
