"""What a search tries: a file like presets/search.yaml, typed, and checked against the project."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from pipeline.errors import ParamsError
from pipeline.params import Count, Section, Seed
from pipeline.params_file import check_override, problems, read_yaml
from pipeline.stage_graph import stage_definition, stage_names

LAST_STAGE = "train"
"""The last stage of a trial; those after it look at the test split."""
MOST_TRIALS = 500
LONGEST = 6000
"""Characters of the values of a trial."""

Goal = Literal["best_val_dice", "best_val_iou", "best_val_accuracy", "best_val_loss"]
"""A number of train.json: of the epoch whose weights were kept, on the validation split."""
Number = Annotated[int | float, Field(allow_inf_nan=False)]


def _plain_and_distinct(choices: list[Any]) -> list[Any]:
    try:
        texts = [json.dumps(choice, allow_nan=False) for choice in choices]
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers, texts and lists of them ({error})") from None
    if len(set(texts)) < len(texts):
        raise ValueError("a choice stands twice; remove one")
    return choices


class Range(Section):
    """Numbers from low to high, both included; whole ones when both are written as such."""

    low: Number
    high: Number
    log: bool = False
    """Tried evenly on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 on a logarithmic scale")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Choices = Annotated[list[Any], Field(min_length=1), AfterValidator(_plain_and_distinct)]
KINDS = ("range", "choices")
Values = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(lambda found: "range" if isinstance(found, (dict, Range)) else "choices"),
]


def _sorted_and_recordable(space: dict[str, Any]) -> dict[str, Any]:
    """The space by name of its keys: databases and forms keep no order of a mapping.

    Refuses what MLflow would cut off: a trial's values are kept as one of its tags.
    """
    choices = {key: values for key, values in space.items() if not isinstance(values, Range)}
    longest = {
        key: max(values, key=lambda one: len(json.dumps(one))) for key, values in choices.items()
    }
    if (length := len(json.dumps(longest))) > LONGEST:
        raise ValueError(f"the values of a trial take {length} characters; at most {LONGEST}")
    return {key: space[key] for key in sorted(space)}


class Grid(Section):
    """Every combination of the choices; of the keys by name the last changes fastest."""

    method: Literal["grid"]
    goal: Goal
    space: Annotated[
        dict[str, Choices], Field(min_length=1), AfterValidator(_sorted_and_recordable)
    ]

    @property
    def count(self) -> int:
        """Number of trials."""
        return math.prod(map(len, self.space.values()))

    def combinations(self) -> Iterable[dict[str, Any]]:
        """The values of each trial, in order."""
        for values in itertools.product(*self.space.values()):
            yield dict(zip(self.space, values, strict=True))

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.count > MOST_TRIALS:
            raise ValueError(f"a grid of {self.count} trials; at most {MOST_TRIALS}")
        return self


class Tpe(Section):
    """The tree-structured Parzen estimator: good trials say where the next is looked for."""

    method: Literal["tpe"]
    trials: Annotated[Count, Field(le=MOST_TRIALS)]
    seed: Seed
    goal: Goal
    space: Annotated[dict[str, Values], Field(min_length=1), AfterValidator(_sorted_and_recordable)]

    @property
    def count(self) -> int:
        """Number of trials."""
        return self.trials


Search = Grid | Tpe
METHODS: dict[str, type[Grid] | type[Tpe]] = {"grid": Grid, "tpe": Tpe}


def load_search(path: Path) -> Search:
    """Read and check a search file; raises ParamsError naming every offending key."""
    return parse_search(read_yaml(path), str(path))


def parse_search(content: Any, where: str) -> Search:
    """The typed form of `content`, which came from `where`; raises ParamsError."""
    method = content.get("method") if isinstance(content, Mapping) else None
    if not isinstance(method, str) or method not in METHODS:
        raise ParamsError(f"{where}: method: found {method!r}, expected {' or '.join(METHODS)}")
    try:
        return METHODS[method].model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{where}: {problems(error, hidden=KINDS)}") from None


def smaller_is_better(search: Search) -> bool:
    """Whether the best trial is the one with the smallest goal."""
    return search.goal.endswith("loss")


def assignments(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Values of a trial as `section.key=value`; numbers and lists as JSON, which YAML reads."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items())


def check_search(search: Search, folder: Path, overrides: Iterable[str]) -> None:
    """Raise ParamsError for a trial that the project in `folder` would refuse.

    Of a grid every trial is checked. Of `tpe` every choice and both ends of every range, one at a
    time: what no two of them may be together shows in the trial that draws them.
    """
    params, overrides = folder / "params.yaml", tuple(overrides)
    sections = {
        part.partition(".")[0] for stage in chain(folder) for part in _params(folder, stage)
    }
    for key in search.space:
        if key.partition(".")[0] not in sections:
            raise ParamsError(
                f"space.{key}: no stage up to {LAST_STAGE} reads it, so its trials would be alike; "
                f"expected a key of {', '.join(sorted(sections))}"
            )
    for values in _samples(search):
        check_override(params, (*overrides, *assignments(values)))


def _samples(search: Search) -> Iterable[dict[str, Any]]:
    if isinstance(search, Grid):
        yield from search.combinations()
        return
    for key, values in search.space.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            yield {key: value}


def chain(folder: Path) -> list[str]:
    """The stages of a trial, in the order data flows."""
    names = stage_names(folder)
    if LAST_STAGE not in names:
        raise ParamsError(f"{folder / 'dvc.yaml'}: has no stage {LAST_STAGE}, which a search runs")
    return names[: names.index(LAST_STAGE) + 1]


def shared_stages(search: Search, folder: Path) -> list[str]:
    """The stages of the chain before the first that a trial changes."""
    varied = {key.partition(".")[0] for key in search.space}

    def alike(name: str) -> bool:
        return not varied & {part.partition(".")[0] for part in _params(folder, name)}

    return list(itertools.takewhile(alike, chain(folder)))


def _params(folder: Path, stage: str) -> list[str]:
    return list(stage_definition(folder, stage).params)
