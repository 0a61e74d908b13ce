"""Annotation conventions: what the people who drew a mask took for lung.

One group of annotators leaves out what lies behind the heart, another takes it in; neither is
wrong, and a network that is not told which one it is asked for learns a mean of both. Each pair has
a convention, by name, and what is said of none is `standard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .errors import StageError

STANDARD = "standard"
"""The convention of pairs of which nothing else is said."""

SHEET, IMPORT, PERSON = "sheet", "import", "person"
"""Who says of which convention a mask is: its metadata sheet, an import, or a person who looked."""

MOST_CONVENTIONS = 256
"""That a network can be told: a record of the shards names its own in a byte."""

LONGEST = 40
NAME = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{LONGEST - 1}}}")


def name_problem(name: str) -> str:
    """What keeps `name` from being a convention's, as `found, expected`; empty when nothing does.

    Names stand in commands, addresses and columns, so they are plain.
    """
    if NAME.fullmatch(name):
        return ""
    return (
        f"found {name!r}, expected a convention's name of lower-case letters, digits, - and _, at "
        f"most {LONGEST} of them"
    )


def in_order(names: Iterable[str]) -> list[str]:
    """The different names in their order everywhere: `standard` first, then by the alphabet.

    The first is what a network answers in when it is not told another.
    """
    return sorted(set(names), key=lambda name: (name != STANDARD, name))


def convention_places(asked: Sequence[str], known: Sequence[str]) -> list[int]:
    """The place of each name that is asked for among those that a network knows.

    Raises StageError for one that it does not know.
    """
    strange = next((name for name in asked if name not in known), None)
    if strange is not None:
        raise StageError(
            f"convention: found {strange[:80]!r}, expected one that the network knows: "
            f"{', '.join(known)}; ask for one of these",
        )
    return [list(known).index(name) for name in asked]


def nearest_conventions(wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    """What a network is asked for where `wanted` is wanted: that, or its default if unknown.

    For comparing masks of any convention with what a network can answer at all.
    """
    return [name if name in known else known[0] for name in wanted]
