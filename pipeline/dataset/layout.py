"""The folder layout of the COVID-19 Radiography Database.

<root>/<class>/images/<name>.png      the radiograph
<root>/<class>/masks/<name>.png       its lung mask
<root>/<class>.metadata.xlsx          optional, a sheet per class; or .csv, .tsv
<root>/<class>.conventions.csv        optional, whose masks are drawn to which convention
"""

from __future__ import annotations

import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pipeline.dataset.spellings import (
    OF_TWO_LUNGS,
    one_name_for,
    renamed_in_data,
    role_of_folder,
    stems_of_radiograph,
)
from pipeline.errors import DatasetError
from pipeline.strays import is_stray

IMAGES, MASKS = "images", "masks"
METADATA_SUFFIX = ".metadata.xlsx"
CONVENTIONS_SUFFIX = ".conventions.csv"
MASK_SIDE = 256
"""Pixels: the database's masks are 256x256, whatever the radiograph's size (299x299)."""
LONGEST_NAME = 200  # bytes; file systems end at 255, and stages write files named after these
# How DVC names an object of its cache, to which it may link files of data/ instead of copying.
DVC_OBJECT = re.compile(r".*/files/md5/[0-9a-f]{2}/[0-9a-f]{30}", re.DOTALL)


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
class Quarantined:
    """A pair or file that is set aside; all texts are printable."""

    image_id: str
    """`<class>/<name>`, or empty for what is part of no pair."""
    path: str
    """The offending file, relative to the dataset's folder."""
    reason: str
    """The code of the fault."""
    found: str
    remedy: str

    @classmethod
    def of_message(cls, image_id: str, path: str, reason: str, message: str) -> Self:
        """From an error's message, which reads `found, expected; what to do`."""
        found, _, remedy = shown(message).rpartition("; ")
        if not found:
            found, remedy = remedy, "replace or remove it"
        return cls(image_id, path, reason, found, remedy)


@dataclass(frozen=True)
class Listing:
    """What a dataset folder holds, in sorted order."""

    pairs: list[Pair] = field(default_factory=list)
    refused: list[Quarantined] = field(default_factory=list)
    """Files without their other half (`unpaired`), folders of another spelling (`layout`) and what
    must not be opened (`path`), but for sheets and files of conventions."""


def same_name(name: str) -> str:
    """A key that is equal for names which some file systems or people take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def shown(text: str) -> str:
    """The text itself when it can be printed, else with its odd characters escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def class_folders(root: Path) -> list[Path]:
    """The folders below `root` that hold `images/` or `masks/`, sorted by name."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; pull the data with `dvc pull data`")
    return [folder for folder in _visible(root) if _unsafe(folder) is None and _is_class(folder)]


def list_dataset(root: Path) -> Listing:
    """List every pair below `root`; raises DatasetError when there is none.

    Nothing is opened, and no link is followed but those that DVC makes into its cache.
    """
    listing = Listing()
    folders = class_folders(root)
    tables = {*list_sheets(root), *list_convention_files(root)}
    others = [path for path in _visible(root) if path not in tables]
    for folder in _refuse_unsafe(others, root, listing):
        if folder.is_dir():
            listing.refused.extend(_spelled_otherwise(folder, root))
    for folder in folders:
        _list_class(folder, root, listing)
    if not listing.pairs:
        refused = "".join(f"; {one.path}: {one.found}; {one.remedy}" for one in listing.refused[:3])
        raise DatasetError(
            f"{root}: found no pairs, expected <class>/images/*.png with <class>/masks/*.png"
            f"{refused}",
        )
    return listing


def sheet_class(name: str) -> str | None:
    """The class that a file `<class>.metadata.<any suffix>` is the sheet of; None for others."""
    class_name, dot, _ = name.rpartition(".")
    if not dot or not class_name.casefold().endswith(".metadata"):
        return None
    return class_name[: -len(".metadata")] or None


def list_sheets(root: Path) -> list[Path]:
    """The sheets below `root`, sorted by name, also those that `refuse_unsafe` refuses."""
    return [path for path in _no_folders(root) if sheet_class(path.name) is not None]


def conventions_class(name: str) -> str | None:
    """The class that a file `<class>.conventions.csv` is of; None for others."""
    if not name.casefold().endswith(CONVENTIONS_SUFFIX):
        return None
    return name[: -len(CONVENTIONS_SUFFIX)] or None


def list_convention_files(root: Path) -> list[Path]:
    """The files `<class>.conventions.csv` below `root`, as `list_sheets` lists the sheets."""
    return [path for path in _no_folders(root) if conventions_class(path.name) is not None]


def refuse_unsafe(path: Path) -> None:
    """Raise DatasetError, which begins with the path, where a file must not be opened."""
    if problem := _unsafe(path):
        raise DatasetError(f"{shown(str(path))}: {'; '.join(problem)}")


def _is_class(folder: Path) -> bool:
    return any((folder / half).is_dir() for half in (IMAGES, MASKS))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_stray(path.name))


def _no_folders(root: Path) -> list[Path]:
    """The visible files of `root` itself, and what else is no folder."""
    return [path for path in _visible(root) if not stat.S_ISDIR(path.lstat().st_mode)]


def _unsafe(path: Path) -> tuple[str, str] | None:
    """What was found and what to do when `path` must not be opened, by its name and kind alone."""
    if not path.name.isprintable():
        return "control or undecodable characters in the name", "rename it"
    length = len(path.name.encode())
    if length > LONGEST_NAME:
        return f"a name of {length} bytes, expected at most {LONGEST_NAME}", "shorten it"
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) and not _is_dvc_link(path):
        return f"a link to {shown(str(path.readlink()))}", "put the file itself in its place"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        return "neither a file nor a folder", "remove it"
    return None


def _is_dvc_link(path: Path) -> bool:
    """Whether `path` links to an object of a DVC cache, or to one that is no longer there."""
    target = path.parent / path.readlink()
    if not DVC_OBJECT.fullmatch(str(target)):
        return False
    return not target.is_symlink() and (target.is_file() or not target.exists())


def _refuse_unsafe(paths: list[Path], root: Path, listing: Listing) -> list[Path]:
    """Refuse what must not be opened and return the rest."""
    safe = []
    for path in paths:
        problem = _unsafe(path)
        if problem:
            listing.refused.append(_hostile(path.relative_to(root), *problem))
        else:
            safe.append(path)
    return safe


def _hostile(path: Path, found: str, remedy: str) -> Quarantined:
    in_pair = len(path.parts) == 3  # <class>/<half>/<name>
    image_id = shown(f"{path.parts[0]}/{path.stem}") if in_pair else ""
    return Quarantined(image_id, shown(path.as_posix()), "path", found, remedy)


def _list_class(folder: Path, root: Path, listing: Listing) -> None:
    own = Listing()
    _refuse_unsafe(_visible(folder), root, own)
    images, masks = (_file_names(folder / half, root, own) for half in (IMAGES, MASKS))
    paired = {name for name in images & masks if name.endswith(".png")}
    listing.pairs.extend(Pair(folder.name, name[:-4]) for name in sorted(paired))
    # One row per pair: that its other half is hostile too, or is now left alone, is no news.
    hostile = {same_name(one.image_id) or one.path: one for one in reversed(own.refused)}
    listing.refused.extend(reversed(hostile.values()))
    listing.refused.extend(
        one
        for one in _unpaired(folder.name, images - paired, masks - paired)
        if same_name(one.image_id) not in hostile
    )


def _spelled_otherwise(folder: Path, root: Path) -> Iterator[Quarantined]:
    """A row for each folder that means `images` or `masks`, and is not read as it is called."""
    for path in _visible(folder):
        role = role_of_folder(path.name)
        half = MASKS if role and role.is_mask else IMAGES
        if role is None or path.name == half or _unsafe(path) or not path.is_dir():
            continue
        place = path.relative_to(root)
        there = (folder / half).exists()
        remedy = f"move its files into {half}/" if there else renamed_in_data((place, half))
        if role.side:
            remedy = OF_TWO_LUNGS
        found = f"a folder called {path.name}, expected {half}"
        yield Quarantined("", place.as_posix(), "layout", found, remedy)


def _file_names(folder: Path, root: Path, listing: Listing) -> set[str]:
    if folder.is_symlink() or not folder.is_dir():
        return set()
    names = set()
    for path in _refuse_unsafe(_visible(folder), root, listing):
        if path.is_dir():
            found = "a folder, expected a PNG file"
            listing.refused.append(_hostile(path.relative_to(root), found, "remove it"))
        else:
            names.add(path.name)
    return names


def _unpaired(class_name: str, images: set[str], masks: set[str]) -> Iterator[Quarantined]:
    """A row per radiograph or mask, or both when their names mean the same."""
    lone: dict[str, list[str]] = {}
    known = {_key(name) for name in images}
    for name in sorted(masks):
        stems = [same_name(stem) for stem, _ in stems_of_radiograph(Path(name).stem)]
        lone.setdefault(next((stem for stem in stems if stem in known), stems[0]), []).append(name)
    for name in sorted(images):
        twins = lone.get(_key(name), [])
        yield _half_pair(class_name, name, twins.pop(0) if twins else None)
    for name in sorted(name for names in lone.values() for name in names):
        path, stem = f"{class_name}/{MASKS}/{name}", Path(name).stem
        found = f"mask {path}, no radiograph {class_name}/{IMAGES}/{stem}.png"
        remedy = "add the radiograph or remove the mask"
        yield Quarantined(f"{class_name}/{stem}", path, "unpaired", found, remedy)


def _key(name: str) -> str:
    return same_name(Path(name).stem)


def _half_pair(class_name: str, image: str, mask: str | None) -> Quarantined:
    path, stem = f"{class_name}/{IMAGES}/{image}", Path(image).stem
    if mask is None:
        found = f"radiograph {path}, no mask {class_name}/{MASKS}/{stem}.png"
        remedy = "add the mask or remove the radiograph"
    else:
        found = f"radiograph {path}, mask {class_name}/{MASKS}/{mask}"
        remedy = one_name_for(Path(path), Path(class_name, MASKS, mask))
    return Quarantined(f"{class_name}/{stem}", path, "unpaired", found, remedy)
