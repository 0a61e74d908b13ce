"""Putting delivered pairs into a folder beside data/, each one read as the stages will read it."""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from pipeline.dataset.delivery.pairing import DeliveredPair
from pipeline.dataset.layout import MASK_SIDE, Pair
from pipeline.errors import UnreadableError
from pipeline.files import link_file
from pipeline.radiograph.grey import Grey
from pipeline.radiograph.reading import load_mask, load_radiograph, read_mask
from pipeline.worker_pool import open_workers, translated_kill, usable_cores

ALONE = 200
"""Fewer pairs than this are read before a second process would have started."""


@dataclass(frozen=True)
class Folders:
    """Where pairs come from and go to."""

    delivery: Path
    data: Path
    """The dataset so far; a pair that is in it already is skipped."""
    staging: Path
    move: bool
    """Whether the delivery's files are ours and may be moved instead of copied."""


@dataclass(frozen=True)
class Outcome:
    """What became of one pair: placed, skipped or with problems."""

    pair: Pair
    skipped: bool = False
    problems: tuple[str, ...] = ()
    has_labels: bool = False
    """Whether its mask holds other values than 0 and 1 or 255, which were taken for lung."""


def place_pairs(pairs: list[DeliveredPair], folders: Folders) -> list[Outcome]:
    """Place every pair, over all cores; problems are returned.

    A full disk raises OSError, a process that is killed CrashedError.
    """
    if len(pairs) < ALONE:
        return [place_pair(pair, folders) for pair in pairs]
    workers = usable_cores()
    with translated_kill("import", workers), open_workers(workers) as pool:
        try:
            return list(pool.map(place_pair, pairs, repeat(folders), chunksize=32))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def place_pair(delivered: DeliveredPair, folders: Folders) -> Outcome:
    """Place one pair, unless data/ holds it with the same bytes; of joined masks, the same lung."""
    pair = delivered.pair
    try:
        mask = _Mask.of(delivered, folders.delivery)
    except UnreadableError as error:
        return Outcome(pair, problems=(str(error).removeprefix(f"{folders.delivery}/"),))
    present = [
        _compare(folders.delivery / delivered.image, folders.data / pair.image),
        mask.compare(folders.data / pair.mask),
    ]
    clashes = tuple(
        f"{half.as_posix()}: data/ holds another file of this name; rename the delivered pair"
        for half, same in zip((pair.image, pair.mask), present, strict=True)
        if same is False
    )
    if clashes or all(present):
        return Outcome(pair, skipped=not clashes, problems=clashes)
    _place(folders.delivery / delivered.image, folders.staging / pair.image, folders.move)
    mask.place(folders.staging / pair.mask, folders.move)
    return _judged(delivered, folders.staging)


@dataclass(frozen=True)
class _Mask:
    """A delivered mask: a file, or the lung of two."""

    file: Path
    joined: Grey | None = None

    @classmethod
    def of(cls, delivered: DeliveredPair, root: Path) -> Self:
        """Raises UnreadableError when two masks cannot be joined."""
        first, *others = delivered.masks
        if not others:
            return cls(root / first)
        lung, other = (read_mask(root / path) for path in delivered.masks)
        if lung.shape != other.shape:
            raise UnreadableError(
                "mask_size",
                f"{others[0]}: size {_size(other.shape)}, expected {_size(lung.shape)} as that of "
                f"{first}; export it again",
            )
        return cls(root / first, lung | other)

    def compare(self, present: Path) -> bool | None:
        """As _compare does; joined masks are told by their lung."""
        if self.joined is None or not present.exists():
            return _compare(self.file, present)
        return np.array_equal(read_mask(present), self.joined)

    def place(self, target: Path, move: bool) -> None:
        if self.joined is None:
            _place(self.file, target, move)
            return
        _clear_place(target)
        encoded = cv2.imencode(".png", self.joined * np.uint8(255))[1]
        target.write_bytes(encoded.tobytes())


def _compare(delivered: Path, present: Path) -> bool | None:
    """True for the same bytes, False for other ones, None when data/ has no such file."""
    if not present.exists():
        return None
    return filecmp.cmp(delivered, present, shallow=False)


def _clear_place(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # A former file of this name may be a link into DVC's cache: replaced, never written through.
    target.unlink(missing_ok=True)


def _place(delivered: Path, target: Path, move: bool) -> None:
    _clear_place(target)
    if move:
        delivered.rename(target)
    else:
        shutil.copyfile(delivered, target)


def _judged(delivered: DeliveredPair, staging: Path) -> Outcome:
    pair = delivered.pair
    problems: list[str] = []
    sizes = []
    labels: tuple[int, ...] = ()
    for half, source, load in (
        (pair.image, delivered.image, load_radiograph),
        (pair.mask, delivered.masks[0], load_mask),
    ):
        try:
            loaded = load(staging / half)
        except UnreadableError as error:
            problems.append(str(error).replace(str(staging / half), source.as_posix(), 1))
        else:
            sizes.append(loaded.pixels.shape)
            labels = loaded.labels
    if len(sizes) == 2 and sizes[1] not in (sizes[0], (MASK_SIDE, MASK_SIDE)):
        problems.append(
            f"{delivered.masks[0].as_posix()}: size {_size(sizes[1])}, expected the radiograph's "
            f"{_size(sizes[0])} or {MASK_SIDE}x{MASK_SIDE}; export it again"
        )
    return Outcome(pair, problems=tuple(problems), has_labels=bool(labels))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def link_tree(source: Path, target: Path) -> None:
    """Make `target` hold what `source` holds, without a second copy of the bytes.

    Hard links where the file system has them; links into DVC's cache stay links. The folders are
    writable, also where those of `source` are not.
    """
    shutil.copytree(source, target, symlinks=True, copy_function=link_file, dirs_exist_ok=True)
    make_writable(target)


def make_writable(root: Path) -> None:
    """Let the owner change what is in `root` and the folders below it; no link is followed."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(stat.S_IMODE(Path(folder).stat().st_mode) | stat.S_IRWXU)
