"""Verdicts, releases, what is wrong with them, and comparisons, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from pipeline.release.history import Move, ReleasedVersion
from pipeline.release.paired_scores import PairedScores, ScoreChange
from pipeline.release.release_log import ChampionState
from pipeline.release.verdict import Check
from pipeline.release.verification import Finding

CHECK_WIDTH = 40
"""Cells of a terminal for the name of a check, so that a long class leaves room for the rest."""


def release_tables(
    name: str, releases: Sequence[ReleasedVersion], moves: Sequence[Move], state: ChampionState
) -> list[Table]:
    """Return a table of the versions and one of the champion's moves, which says its state."""
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
    caption = f"champion: {state.sentence}"
    history = Table(title="moves of the champion", caption=caption, caption_justify="left")
    for heading in ("time (UTC)", "what", "from", "to", "by", "note"):
        history.add_column(heading, overflow="fold")
    for move in moves:
        when = (move.time[:19], move.action, move.from_version or "-", move.to_version)
        history.add_row(*when, escape(move.by), escape(move.note))
    return [versions, history]


def _facts(tags: dict[str, str]) -> list[str]:
    scores = [_score(tags.get(key, "")) for key in ("dice", "accuracy", "worst_class_dice")]
    return [
        *scores,
        tags.get("data_md5", "")[:8],
        tags.get("revision", "")[:8],
        tags.get("run", ""),
    ]


def _score(text: str) -> str:
    """A tag with a score as people read it; as it is where it is no number."""
    try:
        return f"{float(text):.4f}"
    except ValueError:
        return text


def verdict_table(checks: Iterable[Check]) -> Table:
    """Return a row per check of the gate: whether it passed, what was found and required."""
    table = Table(box=None, padding=(0, 2, 0, 0), title="gate", title_justify="left")
    rows = list(checks)
    longest = max((cell_len(check.name) for check in rows), default=0)
    table.add_column(no_wrap=True)
    table.add_column("check", overflow="fold", width=min(longest, CHECK_WIDTH))
    for heading in ("found", "required"):
        table.add_column(heading, overflow="fold")
    for check in rows:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        table.add_row(mark, escape(check.name), escape(check.found), escape(check.bound))
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return a row per thing that is not as it was released."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("where", "what is wrong"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(escape(finding.where), escape(finding.problem))
    return table


def comparison_table(paired: PairedScores) -> Table:
    """Return a row per measure of all radiographs, then of each class and source."""
    caption = "* the interval leaves zero out"
    table = Table(box=None, padding=(0, 2, 0, 0), caption=caption, caption_justify="left")
    for heading in ("score", "cases", "A", "B", "B - A", "", "95 % interval"):
        table.add_column(heading, justify="left" if heading in ("score", "") else "right")
    shown = ("all", "all")
    for change in paired.changes:
        if (change.kind, change.part) != shown:
            shown = (change.kind, change.part)
            table.add_row(f"[bold]{escape(' '.join(shown))}[/]")
        table.add_row(change.measure, *_numbers(change))
    return table


def _numbers(change: ScoreChange) -> list[str]:
    if not change.cases:
        return ["0"]
    interval = "{:+.4f} to {:+.4f}".format(*change.interval) if change.interval else "none"
    return [
        str(change.cases),
        f"{change.before:.4f}",
        f"{change.after:.4f}",
        f"{change.difference:+.4f}",
        "*" if change.certain else "",
        interval,
    ]
