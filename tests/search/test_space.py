from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ParamsError
from pipeline.params_file import check_override
from pipeline.search.space import (
    MOST_TRIALS,
    Grid,
    Range,
    assignments,
    chain,
    check_search,
    load_search,
    parse_search,
    shared_stages,
)
from tests.conftest import PROJECT

TPE = {"method": "tpe", "trials": 3, "seed": 1, "goal": "best_val_dice"}
GRID = {"method": "grid", "goal": "best_val_loss"}


def tpe(**space: Any) -> Any:
    named = {key.replace("__", "."): values for key, values in space.items()}
    return parse_search({**TPE, "space": named}, "search.yaml")


def grid(**space: Any) -> Any:
    named = {key.replace("__", "."): values for key, values in space.items()}
    return parse_search({**GRID, "space": named}, "search.yaml")


def test_the_example_is_a_search_of_this_project() -> None:
    search = load_search(PROJECT / "presets/search.yaml")

    check_search(search, PROJECT, ())

    assert search.count == 12


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        ({"low": 1, "high": 7}, True),
        ({"low": 0.1, "high": 1}, False),
        ({"low": 1e-4, "high": 1e-2, "log": True}, False),
    ],
)
def test_a_range_is_of_whole_numbers_when_it_is_written_so(
    values: dict[str, Any], whole: bool
) -> None:
    found = tpe(train__x=values).space["train.x"]

    assert isinstance(found, Range)
    assert found.whole is whole


def test_a_grid_changes_the_last_key_by_name_fastest_however_it_is_written() -> None:
    search = grid(train__b=["x", [3, 4]], train__a=[1, 2])

    assert isinstance(search, Grid)
    assert list(search.combinations()) == [
        {"train.a": 1, "train.b": "x"},
        {"train.a": 1, "train.b": [3, 4]},
        {"train.a": 2, "train.b": "x"},
        {"train.a": 2, "train.b": [3, 4]},
    ]
    assert search.count == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "method: found None, expected grid or tpe"),
        ({"method": ["tpe"]}, r"method: found \['tpe'\], expected grid or tpe"),
        ({**TPE, "space": {"train.a": [1]}, "trails": 3}, "trails: unknown key"),
        ({**GRID, "space": {"train.a": [1]}, "trials": 3}, "trials: unknown key"),
        ({**GRID, "space": {"train.a": {"low": 1, "high": 2}}}, "space.train.a: .*valid list"),
        ({**TPE, "space": {"train.a": [1]}, "trials": 0}, "trials: found 0"),
        ({**TPE, "space": {"train.a": [1]}, "trials": MOST_TRIALS + 1}, "trials: found 501"),
        ({**TPE, "space": {"train.a": [1]}, "seed": "x"}, "seed: found 'x'"),
        ({**TPE, "space": {"train.a": [1]}, "goal": "test_dice"}, "goal: found 'test_dice'"),
        ({**TPE, "space": {}}, "space: found {}"),
        ({**TPE}, "space: missing"),
        ({**TPE, "space": {"train.a": 3}}, "space.train.a: found 3"),
        ({**TPE, "space": {"train.a": []}}, r"space.train.a: found \[\]"),
        ({**TPE, "space": {"train.a": [1, 2, 1]}}, "space.train.a: .*stands twice"),
        ({**TPE, "space": {"train.a": [float("nan")]}}, "space.train.a: .*expected numbers"),
        ({**TPE, "space": {"train.a": [{1, 2}]}}, "space.train.a: .*expected numbers"),
        ({**TPE, "space": {"train.a": {"low": 1}}}, "space.train.a.high: missing"),
        ({**TPE, "space": {"train.a": {"low": 1, "high": 2, "step": 1}}}, "train.a.step: unknown"),
        ({**TPE, "space": {"train.a": {"low": "1", "high": 2}}}, "space.train.a.low"),
        ({**TPE, "space": {"train.a": {"low": 2, "high": 2}}}, "train.a: .*low must be below"),
        (
            {**TPE, "space": {"train.a": {"low": 0, "high": 2, "log": True}}},
            "space.train.a: .*low must be above 0 on a logarithmic scale",
        ),
        ({**TPE, "space": {"train.a": ["x" * 7000]}}, "take 70.. characters; at most 6000"),
        (
            {**GRID, "space": {f"train.{name}": list(range(30)) for name in "abcdefgh"}},
            "a grid of 656100000000 trials; at most 500",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_key(content: Any, message: str) -> None:
    with pytest.raises(ParamsError, match=f"^search.yaml: .*{message}"):
        parse_search(content, "search.yaml")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (tpe(train__nothing=[1, 2]), "params.yaml has no key train.nothing"),
        (tpe(train__learning_rate={"low": -1, "high": 1}), "train.learning_rate: found -1"),
        (tpe(augment__copies={"low": 1, "high": 99}), "augment.copies: found 99"),
        (tpe(train__epochs=[1, 2.5]), "train.epochs: found 2.5"),
        (grid(split__val=[0.1, 0.6], split__test=[0.1, 0.6]), "val and test must be above 0"),
        (tpe(evaluate__threshold=[0.4, 0.5]), "space.evaluate.threshold: no stage up to train"),
        (tpe(nothing=[1]), "space.nothing: no stage up to train reads it"),
    ],
)
def test_a_trial_that_the_project_would_refuse_is_found_before_any_runs(
    search: Any, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        check_search(search, PROJECT, ())


def test_trials_are_checked_over_what_the_whole_search_changes() -> None:
    search = tpe(augment__copies=[1, 2])

    with pytest.raises(ParamsError, match="copies without transforms"):
        check_search(search, PROJECT, ["augment.transforms=[]"])


def test_a_project_without_a_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"a": {"cmd": "x"}}}))

    with pytest.raises(ParamsError, match="has no stage train"):
        chain(tmp_path)


def test_stages_before_the_first_that_a_trial_changes_are_shared() -> None:
    assert chain(PROJECT) == ["validate", "split", "augment", "train"]
    assert shared_stages(tpe(train__epochs=[1]), PROJECT) == ["validate", "split", "augment"]
    assert shared_stages(tpe(augment__copies=[1], train__epochs=[1]), PROJECT) == [
        "validate",
        "split",
    ]


def test_values_reach_the_parameters_as_they_are() -> None:
    values = {"train.learning_rate": 1e-05, "train.filters": [4, 8], "train.encoder": "resnet34"}

    content = check_override(PROJECT / "params.yaml", assignments(values))

    assert {key: content["train"][key.partition(".")[2]] for key in values} == values
