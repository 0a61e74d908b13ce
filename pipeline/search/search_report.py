"""What the tasks of a search say at their end."""

from __future__ import annotations

from pipeline.run.task_report import TaskReport
from pipeline.search.outcomes import Trial


class PlanReport(TaskReport):
    """The trials that are to run, too."""

    numbers: tuple[int, ...] = ()


class BestReport(TaskReport):
    """Every trial, the best first, and its preset, too."""

    goal: str = ""
    """The metric that the trials are compared by."""
    trials: tuple[Trial, ...] = ()
    preset: str = ""
    """The text of a file for `--params`."""
