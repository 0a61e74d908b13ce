"""Verdicts and the history of releases as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from pipeline.release.history import Move, ReleasedVersion
from pipeline.release.verdict import Check


def release_tables(
    name: str, releases: Sequence[ReleasedVersion], moves: Sequence[Move]
) -> list[Table]:
    """Return a table of the versions and one of the champion's moves."""
    versions = Table(title=f"{name}: versions")
    for heading in (
        "version",
        "alias",
        "dice",
        "accuracy",
        "worst class",
        "data",
        "revision",
        "run",
    ):
        versions.add_column(heading, overflow="fold")
    for release in releases:
        versions.add_row(release.version, ", ".join(release.aliases), *_facts(release.tags))
    history = Table(title="moves of the champion")
    for heading in ("time (UTC)", "what", "from", "to"):
        history.add_column(heading)
    for move in moves:
        history.add_row(move.time[:19], move.action, move.from_version or "-", move.to_version)
    return [versions, history]


def _facts(tags: dict[str, str]) -> list[str]:
    scores = [tags.get(key, "")[:6] for key in ("dice", "accuracy", "worst_class_dice")]
    return [
        *scores,
        tags.get("data_md5", "")[:8],
        tags.get("revision", "")[:8],
        tags.get("run", ""),
    ]


def verdict_table(checks: Iterable[Check]) -> Table:
    """Return a row per check of the gate: whether it passed, what was found and required."""
    table = Table(box=None, padding=(0, 2, 0, 0), title="gate", title_justify="left")
    for heading in ("", "check", "found", "required"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("", "check"))
    for check in checks:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        table.add_row(mark, check.name, escape(check.found), escape(check.bound))
    return table
