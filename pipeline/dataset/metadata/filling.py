"""Cells that take the value of a cell above: merged ones, and those written only once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

from pipeline.dataset.metadata.cells import Line, Merged, text_of

Fills = dict[int, Line]
"""Values by line and column of cells that are empty themselves."""


def fill_cells(
    lines: Mapping[int, Line],
    merged: Iterable[Merged],
    groups: Sequence[Sequence[int]],
    each: Sequence[int] = (),
) -> Fills:
    """What empty cells stand for; `lines` are in order and without the header.

    A merged cell says the same for all its lines. Where something is written only in the first of
    several lines, an empty cell means the cell above it. The columns of each of `groups` say the
    same thing in several ways: a line that has another value than the one above in one of them
    takes nothing from above in the others. In the columns `each` only merged cells say more than
    their own line.
    """
    wanted = {*each, *(column for group in groups for column in group)}
    fills = _of_merged(lines, [area for area in merged if area.left in wanted])
    for group in groups:
        _fill_down(lines, group, fills)
    return fills


def _of_merged(lines: Mapping[int, Line], merged: Iterable[Merged]) -> Fills:
    fills: Fills = {}
    numbers = list(lines)
    for area in merged:
        value = lines.get(area.top, {}).get(area.left)
        if value is None:
            continue
        first, after = bisect_left(numbers, area.top), bisect_right(numbers, area.bottom)
        for number in numbers[first:after]:
            if area.left not in lines[number]:
                fills.setdefault(number, {})[area.left] = value
    return fills


def _fill_down(lines: Mapping[int, Line], group: Sequence[int], fills: Fills) -> None:
    above: Line = {}
    for number, line in lines.items():
        given = {**fills.get(number, {}), **line}
        own = {column: given[column] for column in group if column in given}
        if any(text_of(above.get(column)) != text_of(value) for column, value in own.items()):
            above = own
        elif missing := {column: above[column] for column in above if column not in own}:
            fills.setdefault(number, {}).update(missing)
