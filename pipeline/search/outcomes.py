"""What MLflow knows of a search: which values its trials were given, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.search.space import MOST_TRIALS, Search, smaller_is_better
from pipeline.tracking.run_record import RUN_TAG, RunRecord

if TYPE_CHECKING:
    from mlflow.entities import Run

GIVEN = "lungseg.trial."
FAILURE = "lungseg.failure."
PARENT_TAG = "mlflow.parentRunId"

Values = dict[str, JsonValue]
"""section.key -> the value that a trial is given."""


@dataclass(frozen=True)
class Trial:
    """A trial that was given its values; the numbers are None unless it finished."""

    number: int
    values: Values
    goal: float | None = None
    dice: float | None = None
    """Of the validation split, as the accuracy."""
    accuracy: float | None = None
    seconds: float | None = None
    reason: str = ""
    """Why it failed, if it left one."""
    run_id: str | None = None
    """Of MLflow; None if it was not even begun."""

    @property
    def title(self) -> str:
        """What a person calls it in a list of runs."""
        return f"trial {self.number}: {describe(self.values)}"


def describe(values: Mapping[str, JsonValue]) -> str:
    """Values in a few words, without the names of sections."""
    return ", ".join(f"{name.partition('.')[2]} {json.dumps(values[name])}" for name in values)


def read_trials(parent: RunRecord, search: Search) -> list[Trial]:
    """Every trial that was given its values, in order of their numbers."""
    by_id = {run.data.tags[RUN_TAG]: run for run in trial_runs(parent)}
    tags = parent.client.get_run(parent.run_id).data.tags
    given = {int(key.removeprefix(GIVEN)): key for key in tags if key.startswith(GIVEN)}
    return [
        _trial(search, number, tags, by_id.get(f"{tags[RUN_TAG]}.{number}"))
        for number in sorted(given)
    ]


def trial_runs(parent: RunRecord) -> list[Run]:
    """The MLflow runs of all trials that were begun."""
    found = parent.client.search_runs(
        [parent.run.info.experiment_id],
        f"tags.`{PARENT_TAG}` = '{parent.run_id}'",
        max_results=MOST_TRIALS,
    )
    return list(found)


def _trial(search: Search, number: int, tags: Mapping[str, str], run: Run | None) -> Trial:
    values = json.loads(tags[f"{GIVEN}{number}"])
    metrics = run.data.metrics if run else {}
    if run is None or run.info.status != "FINISHED" or search.goal not in metrics:
        reason = tags.get(f"{FAILURE}{number}", "")
        return Trial(number, values, reason=reason, run_id=run and run.info.run_id)
    return Trial(
        number,
        values,
        goal=metrics[search.goal],
        dice=metrics.get("best_val_dice"),
        accuracy=metrics.get("best_val_accuracy"),
        seconds=round((run.info.end_time - run.info.start_time) / 1000, 1),
        run_id=run.info.run_id,
    )


def ranked(search: Search, trials: Iterable[Trial]) -> list[Trial]:
    """Finished trials, the best first (of equals the earlier), then the others."""
    sign = 1 if smaller_is_better(search) else -1
    return sorted(
        trials,
        key=lambda trial: (trial.goal is None, sign * (trial.goal or 0.0), trial.number),
    )
