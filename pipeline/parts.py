"""A stage done in parts: several hosts do one each, and the stage itself puts them together.

A part is a run of the list of what the stage works through, so that the parts, in order, are what
it would have worked through in one piece: the result has the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from pipeline.errors import ParamsError

Item = TypeVar("Item")


class StagePart(NamedTuple):
    """Part `number` of `total`, counted from 1."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2/4`; raises ParamsError."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise ParamsError(f"part {text!r}: expected one like 2/4, the second of four")
        return cls(int(number), int(count))

    @property
    def folder(self) -> str:
        """Name of the folder that holds its result."""
        return f"{self.number}-of-{self.total}"

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its share of the items, which may be none."""
        first, last = ((len(items) * n) // self.total for n in (self.number - 1, self.number))
        return items[first:last]

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


WHOLE = StagePart(1, 1)
EXIT_CODE = 4
"""Of a stage that did a part: not 0, for whoever started it must not take it for all of it."""


def all_parts(count: int) -> list[StagePart]:
    """The parts of a stage, in order."""
    return [StagePart(number, count) for number in range(1, count + 1)]


def parts_in(folder: Path | None, count: int) -> list[tuple[StagePart, Path | None]]:
    """The parts, each with the folder of its result below `folder`, or None where it has none.

    Without a folder nobody has done a part: it is one piece.
    """
    if folder is None:
        return [(WHOLE, None)]
    places = [(part, folder / part.folder) for part in all_parts(count)]
    return [(part, place if place.is_dir() else None) for part, place in places]
