"""The trials of a search as a table for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from pipeline.search.outcomes import Trial


def trial_table(goal: str, trials: Sequence[Trial]) -> Table:
    """Return a row per trial, in the order given: goal, Dice, accuracy, seconds and its values."""
    columns = [name for name in ("dice", "accuracy") if goal != f"best_val_{name}"]
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    table = Table(box=None, padding=(0, 2, 0, 0), title="trials", title_justify="left")
    for heading in ("trial", goal, *columns, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key in keys:
        name = key.partition(".")[2]
        table.add_column(name, overflow="fold", min_width=len(name))
    for trial in trials:
        values = [json.dumps(trial.values[key]) if key in trial.values else "" for key in keys]
        goal_found = "failed" if trial.goal is None else _number(trial.goal)
        found = [goal_found, *(_number(getattr(trial, name)) for name in columns)]
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
        table.add_row(str(trial.number), *found, seconds, *map(escape, values))
    return table


def failures(trials: Sequence[Trial]) -> list[str]:
    """A line per trial that did not finish."""
    return [
        f"trial {trial.number} failed: {trial.reason}" for trial in trials if trial.goal is None
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
