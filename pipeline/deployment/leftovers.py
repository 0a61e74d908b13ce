"""What `lungseg clean` may remove: its size, and a removal that leaves nothing half-removed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

REMOVED = ".removed"
"""End of the name of a folder that is being removed."""


@dataclass(frozen=True)
class Leftover:
    """One thing to remove; `size` is what that frees, in bytes."""

    kind: str
    name: str
    size: int
    remove: Callable[[], bool]
    """Removes it; whether it did: something else may have begun to use it."""


@dataclass
class FreedBytes:
    """Counts what removals free: a file with several hard links only with the last of them."""

    _seen: Counter[tuple[int, int]] = field(default_factory=Counter)

    def of(self, path: Path) -> int:
        """What the removal of a file or folder frees, after that of all asked for before."""
        return sum(map(self._file, _files(path)))

    def _file(self, path: Path) -> int:
        try:
            found = path.lstat()
        except FileNotFoundError:  # somebody else was quicker
            return 0
        key = (found.st_dev, found.st_ino)
        self._seen[key] += 1
        return found.st_size if self._seen[key] == found.st_nlink else 0


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir() or path.is_symlink():
        yield path
        return
    for folder, folders, names in os.walk(path):
        yield from (Path(folder, name) for name in names)
        yield from (link for name in folders if (link := Path(folder, name)).is_symlink())


def remove_folder(folder: Path) -> None:
    """Remove a folder by another name, so that an interruption leaves no half of it in use."""
    if not folder.name.endswith(REMOVED):
        gone = folder.with_name(f".{folder.name}{REMOVED}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        folder = gone
    shutil.rmtree(folder)


def last_touched(folder: Path) -> float:
    """When a folder or what lies directly in it was changed last, seconds since 1970."""
    times = [folder.stat().st_mtime]
    times += [path.lstat().st_mtime for path in folder.iterdir()]
    return max(times)
