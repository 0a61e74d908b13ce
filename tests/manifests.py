"""Manifests for tests: what the stage validate would have written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def digest(content: object) -> str:
    """A SHA-256 that stands for `content`."""
    return hashlib.sha256(str(content).encode()).hexdigest()


def look(content: object, differing: int = 0) -> str:
    """A perceptual hash of 400 bits that stands for `content`, with so many bits flipped."""
    text = "".join(digest(f"{content} {part}") for part in range(2))[:100]
    return f"{int(text, 16) ^ (1 << differing) - 1:0100x}"


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
        "image_sha256": digest(f"image {image_id}"),
        "mask_sha256": digest(f"mask {image_id}"),
        "pixel_sha256": digest(image_id),
        "perceptual_hash": look(image_id),
        **given,
    }


def write_manifest(root: Path, manifest: pd.DataFrame) -> None:
    """Write it where the stage validate would."""
    (root / "artifacts/validate").mkdir(parents=True, exist_ok=True)
    manifest.to_parquet(root / "artifacts/validate/manifest.parquet", index=False)
