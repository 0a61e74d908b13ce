from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.search.sampling import propose
from pipeline.search.space import Range, Search, parse_search

RATE = {"low": 1e-4, "high": 1.0, "log": True}


def search(trials: int = 24, goal: str = "best_val_dice", seed: int = 7, **space: Any) -> Search:
    named = {f"train.{key}": values for key, values in space.items()}
    content = {"method": "tpe", "trials": trials, "seed": seed, "goal": goal, "space": named}
    return parse_search(content, "search.yaml")


def run(asked: Search, judge: Callable[[dict[str, Any]], float]) -> list[tuple[Any, float]]:
    """Do all trials one after the other."""
    done: list[tuple[Any, float]] = []
    for number in range(asked.count):
        values = propose(asked, number, done, [])
        done.append((values, judge(values)))
    return done


def distance(values: dict[str, Any]) -> float:
    """A bowl with its bottom at rate 0.01 and width 16."""
    wide = 0 if values["train.width"] == [16, 32] else 1
    return abs(math.log10(values["train.rate"] / 0.01)) + wide


SPACE = {"rate": RATE, "width": [[4, 8], [16, 32], [32, 64]]}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("goal", "sign"), [("best_val_loss", 1), ("best_val_dice", -1)])
def test_later_trials_come_closer_to_the_best_than_the_first_random_ones(
    seed: int, goal: str, sign: int
) -> None:
    asked = search(trials=40, goal=goal, seed=seed, **SPACE)

    distances = [abs(goal) for _, goal in run(asked, lambda values: sign * distance(values))]

    assert sum(distances[20:]) / 20 < 0.6 * sum(distances[:10]) / 10
    assert min(distances) < 0.1


def test_the_same_knowledge_gives_the_same_values() -> None:
    asked = search(**SPACE)
    known = run(search(trials=12, **SPACE), distance)

    assert propose(asked, 12, known, []) == propose(asked, 12, list(known), [])
    assert propose(asked, 12, known, []) != propose(asked, 13, known, [])
    assert propose(asked, 0, [], []) != propose(search(seed=8, **SPACE), 0, [], [])


def test_what_is_finished_changes_what_is_tried_next() -> None:
    asked = search(rate=RATE)
    low = [({"train.rate": 10**-exponent}, 0.9 - exponent / 10) for exponent in (1, 2, 3, 4)] * 3
    high = [(values, -goal) for values, goal in low]

    tried = {
        name: [propose(asked, number, known, [])["train.rate"] for number in range(20)]
        for name, known in (("low", low), ("high", high))
    }

    assert sorted(tried["low"])[10] > 5 * sorted(tried["high"])[10]


def test_what_runs_already_is_not_tried_again() -> None:
    asked = search(trials=30, width=[1, 2, 3])
    known = [({"train.width": 1}, 0.1), ({"train.width": 2}, 0.5)] * 6
    running = [{"train.width": 3}] * 6

    alone = [propose(asked, number, known, [])["train.width"] for number in range(40)]
    beside = [propose(asked, number, known, running)["train.width"] for number in range(40)]

    assert beside.count(3) < alone.count(3)


def test_values_are_of_the_kind_and_within_the_bounds_that_were_asked_for() -> None:
    asked = search(
        trials=60,
        rate={"low": 0.33333, "high": 0.33338},
        copies={"low": 1, "high": 3},
        width=[[4, 8], "x", None, True],
    )
    space = asked.space["train.rate"]
    assert isinstance(space, Range)

    tried = [values for values, _ in run(asked, lambda _: 0.5)]

    assert {values["train.copies"] for values in tried} == {1, 2, 3}
    assert all(type(values["train.copies"]) is int for values in tried)
    assert all(space.low <= values["train.rate"] <= space.high for values in tried)
    assert all(values["train.width"] in asked.space["train.width"] for values in tried)


def test_a_grid_goes_through_its_combinations_whatever_is_known() -> None:
    content = {"method": "grid", "goal": "best_val_dice", "space": {"train.a": [1, 2, 3]}}
    asked = parse_search(content, "search.yaml")

    tried = [propose(asked, number, [({"train.a": 9}, 1.0)], []) for number in range(3)]

    assert tried == [{"train.a": 1}, {"train.a": 2}, {"train.a": 3}]
