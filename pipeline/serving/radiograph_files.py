"""Which files prediction takes for radiographs, and where their masks go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset.layout import shown
from pipeline.errors import DatasetError
from pipeline.radiograph.reading import SUFFIXES, looks_like_dicom
from pipeline.serving.prediction_table import TABLE, PredictionTable
from pipeline.strays import is_stray

DIRECTORY = "DICOMDIR"
"""The table of contents of a medium: DICOM by its content, and no picture."""
LONGEST_MASK = 230
"""Bytes of a mask's name: file systems end at 255, and it has a longer one while it is written."""


@dataclass(frozen=True)
class RadiographFiles:
    """Radiographs with the relative path of the mask of each, and what was passed over."""

    files: list[tuple[Path, Path]]
    passed_over: Counter[str] = field(default_factory=Counter)
    """How many of each kind."""

    @property
    def note(self) -> str:
        """One line on what was passed over; empty when nothing was."""
        parts = [f"{count} {kind}" for kind, count in sorted(self.passed_over.items())]
        return f"passed over: {', '.join(parts)}" if parts else ""


def list_radiographs(paths: Sequence[Path]) -> RadiographFiles:
    """Every radiograph of these files and folders.

    In folders PNG and JPEG files are found by their suffix, in either case, and DICOM files by
    suffix or content; a file that cannot be opened counts as one. Raises DatasetError for a path
    that does not exist or cannot be listed, for none at all, for a mask of too long a name, or when
    two radiographs would share one mask.
    """
    passed_over: Counter[str] = Counter()
    files = [pair for path in paths for pair in _expand(path, passed_over)]
    if not files:
        found = RadiographFiles([], passed_over).note
        raise DatasetError(
            f"{', '.join(shown(str(path)) for path in paths)}: found no .png, .jpg or DICOM "
            f"radiograph{f' ({found})' if found else ''}; name files or folders that hold some"
        )
    by_mask: dict[Path, Path] = {}
    for path, mask in files:
        if (length := len(os.fsencode(mask.name))) > LONGEST_MASK:
            raise DatasetError(
                f"{shown(str(path))}: its mask would have a name of {length} bytes, expected at "
                f"most {LONGEST_MASK}; shorten the name of the radiograph"
            )
        if by_mask.setdefault(mask, path) != path:
            raise DatasetError(
                f"{shown(str(by_mask[mask]))} and {shown(str(path))}: both masks would be "
                f"{shown(str(mask))}; rename one"
            )
    return RadiographFiles(list(dict.fromkeys(files)), passed_over)


def refuse_shared_folder(paths: Sequence[Path], out: Path) -> None:
    """Raise DatasetError when `out` is, holds or lies in a folder of radiographs."""
    target = Path(os.path.realpath(out))
    for path in paths:
        folder = Path(os.path.realpath(path if path.is_dir() else path.parent))
        if target == folder:
            relation = "is the folder of the radiographs"
        elif folder.is_relative_to(target):
            relation = f"holds the radiographs of {shown(str(path))}"
        elif path.is_dir() and target.is_relative_to(folder):
            relation = f"lies among the radiographs of {shown(str(path))}"
        else:
            continue
        raise DatasetError(
            f"--out {shown(str(out))}: {relation}, expected a folder of its own, so that no mask "
            "is ever taken for a radiograph or put in its place; name another, beside it"
        )


def _expand(path: Path, passed_over: Counter[str]) -> Iterator[tuple[Path, Path]]:
    if path.is_file():
        yield path, mask_name(Path(path.name))
    elif path.is_dir():
        for file in _walk(path, passed_over):
            yield file, mask_name(file.relative_to(path))
    else:
        raise DatasetError(f"{shown(str(path))}: no such file or folder")


def mask_name(radiograph: Path) -> Path:
    """The relative path of a mask; a name without a suffix of pictures is kept whole."""
    known = radiograph.suffix.lower() in SUFFIXES
    return radiograph.with_suffix(".png") if known else Path(f"{radiograph}.png")


def _walk(root: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """The radiographs below a folder, in order; links to folders are not followed."""
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DatasetError(f"{shown(str(root))}: {error.strerror}; make it readable") from None
    owned = {root / mask for mask in _masks_in(root)}
    if owned:
        passed_over["masks of an earlier prediction"] += len(owned)
    for entry in entries:
        if is_stray(entry.name):
            passed_over["hidden or left by a system"] += 1
        elif entry.is_dir():
            if not entry.is_symlink():
                yield from (file for file in _walk(entry, passed_over) if file not in owned)
        elif entry in owned:
            continue
        elif _is_radiograph(entry):
            yield entry
        else:
            passed_over["of other kinds"] += 1


def _masks_in(folder: Path) -> Collection[Path]:
    """The masks that an earlier prediction wrote there."""
    if not (folder / TABLE).is_file():
        return []
    try:
        return PredictionTable(folder).masks().keys()
    except DatasetError:  # a file of this name is somebody else's
        return []


def _is_radiograph(file: Path) -> bool:
    if not file.is_file() or file.name.upper() == DIRECTORY:
        return False
    try:
        return file.suffix.lower() in SUFFIXES or looks_like_dicom(file)
    except OSError:  # it may be one; prediction lists it with its error
        return True
