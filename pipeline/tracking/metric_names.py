"""Names of a run's metrics in MLflow: the path of keys to each number, such as test/dice.

MLflow's pages put a metric into the section that is called as all before its last `/`, and fold
sections. So test/dice is in `test`, test/classes/COVID/dice in `test/classes/COVID`, and what has
no `/`, the epochs of the training and what is said of it, in the last one, `Model metrics`.

A key may hold what MLflow refuses in a name: a class is called as its folder is. So each is written
as pipeline.plain_names says, and other keys never get the same name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.plain_names import plain_name

LONGEST = 250
"""Characters of a name that MLflow keeps."""
LONGEST_KEY = 150
"""Bytes of a key's name: what is measured stands behind it, and is not to be lost."""


def name_metrics(content: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers of a JSON file by their names in MLflow, each beginning with `prefix`.

    A pair of numbers is an interval and becomes two, `.low` and `.high`. Numbers that are not
    finite are left out, for MLflow would store them as other numbers; so is what is no number.
    """
    return {_shortened(f"{prefix}{name}"): value for name, value in _numbers(content, "")}


def _numbers(content: Mapping[str, Any], above: str) -> Iterator[tuple[str, float]]:
    for key, value in content.items():
        name = f"{above}{plain_name(key, LONGEST_KEY)}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}/")
        elif _is_interval(value):
            yield from zip((f"{name}.low", f"{name}.high"), map(float, value), strict=True)
        elif _is_number(value):
            yield name, float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))


def _shortened(name: str) -> str:
    """The name; the end of one that is too long is replaced by a hash of all of it."""
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST - 18]}..{digest}"
