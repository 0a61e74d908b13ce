"""What a delivered folder holds, judged by names alone: nothing is opened."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset.delivery.advice import (
    advice_on_archives,
    advice_on_flat_class,
    advice_on_flat_classes,
    advice_on_folder,
    advice_on_halves_of_classes,
    advice_on_name,
    one_folder,
)
from pipeline.dataset.delivery.pairing import (
    DeliveredMask,
    DeliveredPair,
    pair_up,
    shown_path,
)
from pipeline.dataset.layout import IMAGES, MASKS, conventions_class, same_name, sheet_class
from pipeline.dataset.spellings import FolderRole, Side, role_of_folder, side_of_folder
from pipeline.errors import DatasetError
from pipeline.strays import is_stray

EXPECTED = "expected <class>/images/*.png with <class>/masks/*.png"
MAX_WRAPPING = 8
"""Folders around the dataset's own, as zip programs and download caches add them."""
LUNGS_APART = {FolderRole(True, side) for side in Side}
"""What two folders of masks must be."""


@dataclass(frozen=True)
class DeliveryListing:
    """A delivery by name; every path is relative to `root`."""

    root: Path
    pairs: list[DeliveredPair] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    """`<class>.metadata.xlsx` or alike, of delivered classes or other ones."""
    conventions: list[str] = field(default_factory=list)
    """`<class>.conventions.csv`, as the data/ of another project has them."""
    left_out: list[str] = field(default_factory=list)
    """Files that are no part of the layout, such as a README."""
    problems: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The delivered classes, sorted."""
        return sorted({one.pair.class_name for one in self.pairs})


def list_delivery(folder: Path) -> DeliveryListing:
    """List the delivery in `folder` or in the folders wrapped around it.

    Problems of single files are collected; raises DatasetError when there is no dataset at all.
    """
    found = DeliveryListing(find_root(folder))
    for entry in _entries(found.root, found):
        if entry.is_dir():
            _list_class(entry, found)
        elif sheet_class(entry.name) is not None:
            found.sheets.append(entry.name)
        elif conventions_class(entry.name) is not None:
            found.conventions.append(entry.name)
        else:
            found.left_out.append(entry.name)
    if not found.pairs and not found.problems:
        raise DatasetError(f"{folder}: found no pair, {EXPECTED}")
    return found


def find_root(folder: Path) -> Path:
    """The folder at or below `folder` that holds the class folders; raises DatasetError."""
    root, seen = folder, []
    for _ in range(MAX_WRAPPING + 1):
        below = [path for path in _visible(root) if path.is_dir() and not path.is_symlink()]
        classes = [path for path in below if _is_class(path)]
        for path in (root, *classes):
            if swapped := advice_on_halves_of_classes(folder, path):
                raise _no_dataset(folder, swapped)
        if classes:
            return root
        if _is_class(root):
            raise DatasetError(
                f"{folder}: {root.name} is a single class; give the folder that holds it",
            )
        seen += below
        if len(below) != 1:
            break
        root = below[0]
    advice = advice_on_flat_classes(folder, seen) or advice_on_archives(root)
    raise _no_dataset(folder, f"found no class folder, {EXPECTED}{advice}")


def _no_dataset(folder: Path, problem: str) -> DatasetError:
    where = " (the command is for that folder, unpacked)" if "`" in problem else ""
    return DatasetError(f"{folder}: {problem}{where}")


def _is_class(folder: Path) -> bool:
    return any(
        role_of_folder(path.name) and path.is_dir()
        for path in folder.iterdir()
        if not is_stray(path.name)
    )


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_stray(path.name))


def _entries(folder: Path, found: DeliveryListing) -> list[Path]:
    """The plain files and folders in `folder`; anything else becomes a problem."""
    sound = []
    for path in _visible(folder):
        problem = _unsafe(path)
        if problem:
            found.problems.append(f"{shown_path(path.relative_to(found.root))}: {problem}")
        else:
            sound.append(path)
    _report_twins(sound, found)
    return sound


def _unsafe(path: Path) -> str | None:
    if not path.name.isprintable():
        return f"has control or undecodable characters in its name; {advice_on_name(path.name)}"
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a link; deliver the file itself"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is neither file nor folder; remove it"
    return None


def _report_twins(paths: list[Path], found: DeliveryListing) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        twin = seen.setdefault(same_name(path.name), path)
        if twin is not path:
            shown = shown_path(path.relative_to(found.root))
            found.problems.append(f"{shown}: differs from {twin.name} by case only; rename one")


def _list_class(folder: Path, found: DeliveryListing) -> None:
    images: dict[Path, list[Path]] = {}
    masks: dict[Path, list[DeliveredMask]] = {}
    others: list[Path] = []
    for entry in _entries(folder, found):
        place = entry.relative_to(found.root)
        role = role_of_folder(entry.name) if entry.is_dir() else None
        if role is None:
            others.append(entry)
        elif role.is_mask:
            masks[place] = list(_mask_files(entry, role.side, found))
        else:
            images[place] = list(_png_files(entry, found))
    _report_others(folder, others, bool(images), bool(masks), found)
    sides = [role_of_folder(place.name) for place in masks]
    if len(images) > 1 or (len(masks) > 1 and set(sides) != LUNGS_APART):
        found.problems.extend(one_folder(IMAGES, images) + one_folder(MASKS, masks))
        return
    pairing = pair_up(
        folder.name,
        (path for paths in images.values() for path in paths),
        (mask for of_folder in masks.values() for mask in of_folder),
    )
    found.pairs.extend(pairing.pairs)
    found.problems.extend(pairing.problems)


def _report_others(
    folder: Path, others: list[Path], images: bool, masks: bool, found: DeliveryListing
) -> None:
    """What is in a class and is neither its radiographs nor its masks."""
    folders = [path.relative_to(found.root) for path in others if path.is_dir()]
    for path in folders:
        advice = advice_on_folder(path, images, masks) if len(folders) == 1 else ""
        found.problems.append(f"{shown_path(path)}: unknown folder, {EXPECTED}{advice}")
    files = [path.relative_to(found.root) for path in others if not path.is_dir()]
    found.left_out.extend(map(shown_path, files))
    if not images and not masks:
        place = folder.relative_to(found.root)
        advice = advice_on_flat_class(place, [path.name for path in files])
        found.problems.append(f"{shown_path(place)}: holds neither images/ nor masks/{advice}")


def _mask_files(folder: Path, side: Side | None, found: DeliveryListing) -> Iterator[DeliveredMask]:
    """The masks in `folder` and in its folders of left and right ones."""
    entries = _entries(folder, found)
    for entry in entries:
        own = side_of_folder(entry.name) if entry.is_dir() and side is None else None
        if own is not None:
            yield from _mask_files(entry, own, found)
        elif _is_png(entry, found):
            yield DeliveredMask(entry.relative_to(found.root), side)


def _png_files(folder: Path, found: DeliveryListing) -> Iterator[Path]:
    for entry in _entries(folder, found):
        if _is_png(entry, found):
            yield entry.relative_to(found.root)


def _is_png(entry: Path, found: DeliveryListing) -> bool:
    """Whether an entry is named *.png; what is not becomes a problem."""
    shown = shown_path(entry.relative_to(found.root))
    if entry.is_dir():
        found.problems.append(f"{shown}: is a folder, expected a PNG file")
    elif entry.suffix.lower() != ".png":
        found.problems.append(f"{shown}: is not named *.png; export as PNG")
    else:
        return True
    return False
