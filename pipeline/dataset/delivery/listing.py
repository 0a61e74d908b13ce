"""What a delivered folder holds, judged by names alone: nothing is opened."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset.layout import IMAGES, MASKS, Pair, same_name, sheet_class
from pipeline.errors import DatasetError
from pipeline.strays import is_stray

EXPECTED = "expected <class>/images/*.png with <class>/masks/*.png"
MAX_WRAPPING = 3
"""Folders around the dataset's own, as zip programs and download caches add them."""


@dataclass(frozen=True)
class DeliveryListing:
    """A delivery by name; every path is relative to `root`."""

    root: Path
    pairs: list[Pair] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    """`<class>.metadata.xlsx` or alike, of delivered classes or other ones."""
    left_out: list[str] = field(default_factory=list)
    """Files that are no part of the layout, such as a README."""
    problems: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """The delivered classes, sorted."""
        return sorted({pair.class_name for pair in self.pairs})


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
        else:
            found.left_out.append(entry.name)
    if not found.pairs and not found.problems:
        raise DatasetError(f"{folder}: found no pair, {EXPECTED}")
    return found


def find_root(folder: Path) -> Path:
    """The folder at or below `folder` that holds the class folders; raises DatasetError."""
    root = folder
    for _ in range(MAX_WRAPPING + 1):
        below = [path for path in _visible(root) if path.is_dir() and not path.is_symlink()]
        if any(_is_class(path) for path in below):
            return root
        if _is_class(root):
            raise DatasetError(
                f"{folder}: {root.name} is a single class; give the folder that holds it",
            )
        if len(below) != 1:
            break
        root = below[0]
    raise DatasetError(f"{folder}: found no class folder, {EXPECTED}")


def _is_class(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() or (folder / MASKS).is_dir()


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_stray(path.name))


def _entries(folder: Path, found: DeliveryListing) -> list[Path]:
    """The plain files and folders in `folder`; anything else becomes a problem."""
    sound = []
    for path in _visible(folder):
        problem = _unsafe(path)
        if problem:
            found.problems.append(f"{_shown(path, found.root)}: {problem}")
        else:
            sound.append(path)
    _report_twins(sound, found)
    return sound


def _unsafe(path: Path) -> str | None:
    if not path.name.isprintable():
        return "has control or undecodable characters in its name; rename it"
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
            shown = _shown(path, found.root)
            found.problems.append(f"{shown}: differs from {twin.name} by case only; rename one")


def _shown(path: Path, root: Path) -> str:
    text = path.relative_to(root).as_posix()
    return text if text.isprintable() else repr(text)


def _list_class(folder: Path, found: DeliveryListing) -> None:
    halves: dict[str, set[str]] = {IMAGES: set(), MASKS: set()}
    entries = _entries(folder, found)
    for entry in entries:
        if entry.name in halves and entry.is_dir():
            halves[entry.name] = _file_names(entry, found)
        elif entry.is_dir():
            found.problems.append(f"{_shown(entry, found.root)}: unknown folder, {EXPECTED}")
        else:
            found.left_out.append(_shown(entry, found.root))
    if not {IMAGES, MASKS} & {entry.name for entry in entries}:
        found.problems.append(f"{_shown(folder, found.root)}: holds neither images/ nor masks/")
    images, masks = halves[IMAGES], halves[MASKS]
    found.pairs.extend(Pair(folder.name, name[:-4]) for name in sorted(images & masks))
    _report_unpaired(folder.name, images - masks, masks - images, found)


def _file_names(folder: Path, found: DeliveryListing) -> set[str]:
    names = set()
    for entry in _entries(folder, found):
        if entry.is_dir():
            found.problems.append(f"{_shown(entry, found.root)}: is a folder, expected a PNG file")
        elif entry.suffix != ".png":
            found.problems.append(f"{_shown(entry, found.root)}: is not named *.png; export as PNG")
        else:
            names.add(entry.name)
    return names


def _report_unpaired(
    class_name: str, images: Iterable[str], masks: Iterable[str], found: DeliveryListing
) -> None:
    masks_by_key = {same_name(name): name for name in masks}
    for name in sorted(images):
        mask = masks_by_key.pop(same_name(name), None)
        advice = f"its mask is named {mask}; rename one" if mask else "has no mask; add or remove"
        found.problems.append(f"{class_name}/{IMAGES}/{name}: {advice}")
    for name in sorted(masks_by_key.values()):
        found.problems.append(f"{class_name}/{MASKS}/{name}: has no radiograph; add or remove")
