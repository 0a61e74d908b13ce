"""The dataset's versions and their differences for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.conventions import STANDARD
from pipeline.dataset.versions.difference import Difference
from pipeline.dataset.versions.versions import (
    WORKING_TREE,
    Version,
    VersionRow,
    count_classes,
    list_pairs,
)

NAMED = 3
"""Pairs that are named before the rest is counted."""


def log_table(rows: Sequence[VersionRow]) -> Table:
    """Return a row per version, newest first: what it is, and under it its classes."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("commit", "date", "md5"):
        table.add_column(heading, no_wrap=True)
    for heading in ("pairs", "size"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_column("what", overflow="fold")
    for row in rows:
        commit = "-" if row.commit == WORKING_TREE else row.commit
        table.add_row(
            commit,
            row.date,
            row.md5[:10],
            "?" if row.pairs is None else str(row.pairs),
            format_size(row.size),
            f"{escape(row.subject)}\n[dim]{_classes(row.classes)}[/]",
        )
    return table


def _classes(classes: Mapping[str, int] | None) -> str:
    if classes is None:
        return "no intact list of files in the cache; `lungseg data diff` fetches it"
    return escape(", ".join(f"{name} {count}" for name, count in classes.items()))


def format_size(size: float) -> str:
    """Bytes in the unit that people read: 3.9 MB."""
    units = ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 100 or units[0] == "B" else f"{size:.1f} {units[0]}"


def difference_view(difference: Difference) -> RenderableType:
    """Return all of a difference: a table by class, then names, then validation's counts."""
    lines = [
        f"{_name(difference.before.version)} → {_name(difference.after.version)}",
        f"{len(difference.added)} pairs added, {len(difference.removed)} removed, "
        f"{len(difference.changed)} changed",
    ]
    return Group(*map(Text, lines), Text(), class_table(difference), Text(), *_facts(difference))


def _name(version: Version) -> str:
    date = f", {version.date}" if version.date else ""
    return f"{version.commit} (data {version.pointer.md5[:10]}{date})"


def class_table(difference: Difference) -> Table:
    """Return a row per class: pairs, and the medians of lung area and intensity."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("class", overflow="fold")
    for heading in ("pairs", "+", "-", "≠", "lung area", "intensity"):
        table.add_column(heading, no_wrap=True, justify="right")
    both = (difference.before, difference.after)
    counts = [count_classes(list_pairs(one.files)) for one in both]
    results = [one.results for one in both]
    names = (difference.added, difference.removed, difference.changed)
    kinds = [count_classes(one) for one in names]
    for name in sorted(counts[0].keys() | counts[1].keys()):
        table.add_row(
            escape(name),
            _move(*(str(count.get(name, 0)) for count in counts)),
            *(str(kind.get(name, "")) for kind in kinds),
            _move(*(_number(one.median_lung_area.get(name), 3) for one in results)),
            _move(*(_number(one.median_intensity.get(name), 0) for one in results)),
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _move(before: str, after: str) -> str:
    return after if before == after else f"{before} → {after}"


def _facts(difference: Difference) -> list[Text]:
    before, after = difference.before.results, difference.after.results
    halves = [f"{name} ({what})" for name, what in difference.changed.items()]
    others = [f"{file} ({what})" for file, what in difference.other_files.items()]
    facts = {
        "added": _named(difference.added),
        "removed": _named(difference.removed),
        "changed": _named(halves),
        "other files": _named(others),
        "quarantined": _moves(before.quarantined, after.quarantined),
        "flags": _moves(before.flags, after.flags),
    }
    if difference.conventions or {*before.conventions, *after.conventions} != {STANDARD}:
        drawn = [f"{name} ({what})" for name, what in difference.conventions.items()]
        facts["conventions"] = _moves(before.conventions, after.conventions)
        facts["other convention"] = _named(drawn)
    return [Text(f"{label}: {fact}") for label, fact in facts.items() if fact]


def _named(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return ", ".join(shown[:NAMED]) + more


def _moves(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    moves = [
        f"{name} {_move(str(before.get(name, 0)), str(after.get(name, 0)))}"
        for name in sorted(before.keys() | after.keys())
    ]
    return ", ".join(moves) or "none"
