"""Cells that take the value of a cell above: merged ones, and those written only once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping

from pipeline.dataset.metadata.cells import Line, Merged

Fills = dict[int, Line]
"""Values by line and column of cells that are empty themselves."""


def fill_cells(
    lines: Mapping[int, Line], merged: Iterable[Merged], columns: Iterable[int]
) -> Fills:
    """What the empty cells of `columns` stand for; `lines` are in order and without the header.

    A merged cell says the same for all its lines. In a column where something is written only in
    the first of several lines, an empty cell means the cell above it.
    """
    fills: Fills = {}
    wanted = set(columns)
    numbers = list(lines)
    for area in merged:
        value = lines.get(area.top, {}).get(area.left)
        if value is None or area.left not in wanted:
            continue
        first, after = bisect_left(numbers, area.top), bisect_right(numbers, area.bottom)
        for number in numbers[first:after]:
            if area.left not in lines[number]:
                fills.setdefault(number, {})[area.left] = value
    for column in wanted:
        _fill_down(lines, column, fills)
    return fills


def _fill_down(lines: Mapping[int, Line], column: int, fills: Fills) -> None:
    above: object = None
    for number, line in lines.items():
        above = line.get(column, fills.get(number, {}).get(column, above))
        if column not in line and above is not None:
            fills.setdefault(number, {})[column] = above
