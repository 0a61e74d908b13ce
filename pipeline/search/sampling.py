"""Which values the next trial gets: the next of a grid, or by TPE from the trials before.

TPE is that of Bergstra et al., Algorithms for Hyper-Parameter Optimization (NeurIPS 2011), in
Optuna. No database is shared: the memory is what the caller knows of the other trials, so the
answer is a function of (search, number, what is finished and what is running).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.search.space import Grid, Range, Search, Tpe, smaller_is_better

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Values = dict[str, Any]


def propose(
    search: Search,
    number: int,
    finished: Iterable[tuple[Mapping[str, Any], float]],
    unfinished: Iterable[Mapping[str, Any]],
) -> Values:
    """The values of a trial, by key of the search's space.

    `finished` are the values and goals of other trials in order of their numbers; `unfinished` the
    values of those that run or failed.
    """
    if isinstance(search, Grid):
        return next(itertools.islice(search.combinations(), number, None))
    return _ask_tpe(search, number, list(finished), list(unfinished))


def _ask_tpe(
    search: Tpe,
    number: int,
    finished: list[tuple[Mapping[str, Any], float]],
    unfinished: list[Mapping[str, Any]],
) -> Values:
    import optuna
    from optuna.samplers import TPESampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A third of the trials look around first, ten at most (Optuna's default).
    looking = max(2, min(10, search.trials // 3))
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    minimise = smaller_is_better(search)
    study = optuna.create_study(
        direction="minimize" if minimise else "maximize",
        sampler=TPESampler(seed=seed, n_startup_trials=looking),
    )
    if finished:
        # The constant liar: what runs or failed counts as bad, so that nobody tries it again.
        goals = [goal for _, goal in finished]
        worst = max(goals) if minimise else min(goals)
        known = [*finished, *((values, worst) for values in unfinished)]
        study.add_trials([_trial(search, values, goal) for values, goal in known])
    asked = study.ask(_distributions(search)).params
    return {key: _decoded(search.space[key], asked[key]) for key in search.space}


def _trial(search: Tpe, values: Mapping[str, Any], goal: float) -> FrozenTrial:
    from optuna.trial import create_trial

    encoded = {
        key: value if isinstance(search.space[key], Range) else json.dumps(value)
        for key, value in values.items()
    }
    return create_trial(params=encoded, distributions=_distributions(search), value=goal)


def _distributions(search: Tpe) -> dict[str, BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    def distribution(values: Range | list[Any]) -> BaseDistribution:
        if not isinstance(values, Range):
            return CategoricalDistribution([json.dumps(value) for value in values])
        if values.whole:
            return IntDistribution(int(values.low), int(values.high), log=values.log)
        return FloatDistribution(values.low, values.high, log=values.log)

    return {key: distribution(values) for key, values in search.space.items()}


def _decoded(values: Range | list[Any], asked: Any) -> Any:
    if not isinstance(values, Range):
        return json.loads(asked)
    if values.whole:
        return int(asked)
    # Four digits are more than a search can tell apart, and people read them.
    return min(max(float(f"{asked:.4g}"), float(values.low)), float(values.high))
