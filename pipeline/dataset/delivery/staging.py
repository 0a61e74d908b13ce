"""Putting delivered pairs into a folder beside data/, each one read as the stages will read it."""

from __future__ import annotations

import filecmp
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from pipeline.dataset.layout import MASK_SIDE, Pair
from pipeline.errors import UnreadableError
from pipeline.files import link_file
from pipeline.radiograph.reading import read_mask, read_radiograph

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


def place_pairs(pairs: list[Pair], folders: Folders) -> list[Outcome]:
    """Place every pair, over all cores; problems are returned, a full disk raises OSError."""
    if len(pairs) < ALONE:
        return [place_pair(pair, folders) for pair in pairs]
    # Spawned, not forked: the caller may hold threads and locks.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        try:
            return list(pool.map(place_pair, pairs, repeat(folders), chunksize=32))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def place_pair(pair: Pair, folders: Folders) -> Outcome:
    """Place one pair, unless data/ holds it with the same bytes."""
    present = [_compare(half, folders) for half in (pair.image, pair.mask)]
    clashes = tuple(
        f"{half.as_posix()}: data/ holds another file of this name; rename the delivered pair"
        for half, same in zip((pair.image, pair.mask), present, strict=True)
        if same is False
    )
    if clashes or all(present):
        return Outcome(pair, skipped=not clashes, problems=clashes)
    for half in (pair.image, pair.mask):
        _place(half, folders)
    return Outcome(pair, problems=_unusable(pair, folders.staging))


def _compare(half: Path, folders: Folders) -> bool | None:
    """True for the same bytes in data/, False for other ones, None when data/ has no such file."""
    existing = folders.data / half
    if not existing.exists():
        return None
    return filecmp.cmp(folders.delivery / half, existing, shallow=False)


def _place(half: Path, folders: Folders) -> None:
    target = folders.staging / half
    target.parent.mkdir(parents=True, exist_ok=True)
    # A former file of this name may be a link into DVC's cache: replaced, never written through.
    target.unlink(missing_ok=True)
    if folders.move:
        (folders.delivery / half).rename(target)
    else:
        shutil.copyfile(folders.delivery / half, target)


def _unusable(pair: Pair, staging: Path) -> tuple[str, ...]:
    problems = []
    sizes = []
    for half, read in ((pair.image, read_radiograph), (pair.mask, read_mask)):
        try:
            sizes.append(read(staging / half).shape)
        except UnreadableError as error:
            problems.append(str(error).removeprefix(f"{staging}/"))
    if len(sizes) == 2 and sizes[1] not in (sizes[0], (MASK_SIDE, MASK_SIDE)):
        problems.append(_size_problem(pair, sizes[0], sizes[1]))
    return tuple(problems)


def _size_problem(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> str:
    return (
        f"{pair.mask.as_posix()}: size {mask[1]}x{mask[0]}, expected the radiograph's "
        f"{image[1]}x{image[0]} or {MASK_SIDE}x{MASK_SIDE}; export it again"
    )


def link_tree(source: Path, target: Path) -> None:
    """Make `target` hold what `source` holds, without a second copy of the bytes.

    Hard links where the file system has them; links into DVC's cache stay links.
    """
    shutil.copytree(source, target, symlinks=True, copy_function=link_file, dirs_exist_ok=True)
