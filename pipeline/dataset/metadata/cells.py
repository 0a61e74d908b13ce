"""The cells of a sheet that hold anything, whichever kind of file it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

MAX_CELLS = 2_000_000
"""Of a sheet; the database's largest has 41,000."""
MAX_LINES = 1_048_576
"""What Excel can hold."""
WHOLE = re.compile(r"-?\d+\.0+")


class Unvalued(Enum):
    """What stands for the value of a formula that was never calculated, or failed."""

    FORMULA = "a formula without a value"


Line = dict[int, object]
"""Values by column, counted from 1; without the empty ones."""


@dataclass(frozen=True)
class Merged:
    """One cell made of many, by its first and last line and column."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass
class Cells:
    """Lines by their number, counted from 1 and in order; without the empty ones."""

    lines: dict[int, Line] = field(default_factory=dict)
    merged: list[Merged] = field(default_factory=list)
    encoding: str = ""
    """Of a text in another encoding than UTF-8."""
    joined: bool = False
    """Whether it was written by `merging`: each line says all itself, and the next one nothing."""


class TooLargeError(ValueError):
    """A sheet is of no sane size."""


def text_of(value: object) -> str:
    """A cell as text: 46, 46.0 and " 46 " are "46"; no value is ""."""
    if value is None or isinstance(value, Unvalued):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = " ".join(str(value).split())
    return text.partition(".")[0] if WHOLE.fullmatch(text) else text
