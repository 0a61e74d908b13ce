"""Annotation conventions: what the people who drew a mask took for lung.

One group of annotators leaves out what lies behind the heart, another takes it in; neither is
wrong, and a network that is not told which one it is asked for learns a mean of both. Each pair has
a convention, by name, and what is said of none is `standard`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

STANDARD = "standard"
"""The convention of pairs of which nothing else is said."""

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
