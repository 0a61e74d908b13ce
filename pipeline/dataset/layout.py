"""The folder layout of the COVID-19 Radiography Database.

<root>/<class>/images/<name>.png      the radiograph
<root>/<class>/masks/<name>.png       its lung mask
<root>/<class>.metadata.xlsx          optional, a sheet per class
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import DatasetError

IMAGES, MASKS = "images", "masks"
METADATA_SUFFIX = ".metadata.xlsx"
STRAY_FILES = {"Thumbs.db", "desktop.ini", "__MACOSX"}


@dataclass(frozen=True)
class Pair:
    """One radiograph and its mask; both paths are relative to the dataset's folder."""

    class_name: str
    name: str

    @property
    def image_id(self) -> str:
        """`<class>/<name>`: unique in the dataset."""
        return f"{self.class_name}/{self.name}"

    @property
    def image(self) -> Path:
        """Path of the radiograph below the dataset's folder."""
        return Path(self.class_name, IMAGES, f"{self.name}.png")

    @property
    def mask(self) -> Path:
        """Path of the mask below the dataset's folder."""
        return Path(self.class_name, MASKS, f"{self.name}.png")


@dataclass(frozen=True)
class Listing:
    """What a dataset folder holds, in sorted order."""

    pairs: list[Pair] = field(default_factory=list)
    unpaired: list[Path] = field(default_factory=list)
    """Files without their other half, or that are no `.png`; relative to the dataset's folder."""


def is_stray(name: str) -> bool:
    """Whether a file or folder is hidden or was left by a desktop: no part of any dataset."""
    return name.startswith(".") or name in STRAY_FILES


def class_folders(root: Path) -> list[Path]:
    """The folders below `root` that hold `images/` or `masks/`, sorted by name."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; pull the data with `dvc pull data`")
    return sorted(
        folder
        for folder in root.iterdir()
        if not is_stray(folder.name) and ((folder / IMAGES).is_dir() or (folder / MASKS).is_dir())
    )


def list_dataset(root: Path) -> Listing:
    """List every pair below `root`; raises DatasetError when there is none."""
    listing = Listing()
    for folder in class_folders(root):
        images, masks = _names(folder / IMAGES), _names(folder / MASKS)
        paired = {name for name in images & masks if name.endswith(".png")}
        listing.pairs.extend(Pair(folder.name, name[:-4]) for name in sorted(paired))
        listing.unpaired.extend(Path(folder.name, IMAGES, name) for name in sorted(images - paired))
        listing.unpaired.extend(Path(folder.name, MASKS, name) for name in sorted(masks - paired))
    if not listing.pairs:
        raise DatasetError(
            f"{root}: found no pairs, expected <class>/images/*.png with <class>/masks/*.png",
        )
    return listing


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    return {entry.name for entry in folder.iterdir() if not is_stray(entry.name)}
