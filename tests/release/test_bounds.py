from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ParamsError, WorkspaceError
from pipeline.params import GateParams, Params
from pipeline.release.bounds import STRICTER_WORDS, find_bounds, withdrawn_answers
from pipeline.release.gate import deployed_bounds
from pipeline.settings import Settings
from pipeline.workspace.workspace import Workspace
from tests.conftest import git
from tests.release.conftest import deploy

STRICTER: dict[str, Any] = {
    "mode": "dry_run",
    "approval": "required",
    "min_accuracy": 0.99,
    "min_dice": 0.99,
    "min_worst_class_dice": 0.99,
    "max_failures": 0.01,
    "max_hd95": 0.1,
    "max_ece": 0.001,
    "max_drop": 0.001,
    "max_drift": 0.001,
    "min_report_cases": 99,
    "min_test_cases_per_class": 99,
}


def test_every_bound_has_a_stricter_side() -> None:
    assert STRICTER.keys() == GateParams.model_fields.keys()


@pytest.mark.parametrize("key", [key for key in STRICTER if key not in STRICTER_WORDS])
def test_a_stricter_bound_counts_and_a_laxer_one_does_not(params: Params, key: str) -> None:
    strict = params.gate.model_copy(update={key: STRICTER[key]})

    raised = find_bounds("c0ffee", params.gate, strict.model_dump(), [], "")
    lowered = find_bounds("c0ffee", strict, params.gate.model_dump(), [], "")

    assert raised.used == strict
    assert raised.note == f"raised: {key} {STRICTER[key]} instead of {getattr(params.gate, key)}"
    assert lowered.used == strict
    assert lowered.lowered == (f"{key} {getattr(params.gate, key)} instead of {STRICTER[key]}",)
    assert lowered.note.endswith("(not allowed)")


@pytest.mark.parametrize("key", STRICTER_WORDS)
@pytest.mark.parametrize("allowed_by", ["", "Ada"])
def test_nobody_can_lower_how_the_deployed_project_releases(
    params: Params, key: str, allowed_by: str
) -> None:
    strict = params.gate.model_copy(update={key: STRICTER[key]})

    lowered = find_bounds("c0ffee", strict, params.gate.model_dump(), [], allowed_by)
    raised = find_bounds("c0ffee", params.gate, strict.model_dump(), [], allowed_by)

    assert (lowered.used, lowered.note) == (strict, "")
    assert raised.used == strict


def test_a_lowered_bound_counts_when_somebody_answers_for_it(params: Params) -> None:
    asked = {**params.gate.model_dump(), "min_dice": 0.5, "min_accuracy": 0.99}

    bounds = find_bounds("c0ffee", params.gate, asked, [], "Ada Lovelace")

    assert (bounds.used.min_dice, bounds.used.min_accuracy) == (0.5, 0.99)
    assert bounds.note == (
        "lowered: min_dice 0.5 instead of 0.9 (allowed by Ada Lovelace); "
        "raised: min_accuracy 0.99 instead of 0.95"
    )


def test_nobody_is_named_where_nothing_is_lowered(params: Params) -> None:
    bounds = find_bounds("c0ffee", params.gate, params.gate.model_dump(), [], "Ada")

    assert bounds.used == params.gate
    assert (bounds.note, bounds.allowed_by) == ("", "")


@pytest.mark.parametrize(
    ("champion", "candidate", "words"),
    [
        (["standard"], ["standard", "wide"], []),
        (["standard", "wide"], ["standard", "wide"], []),
        (["standard", "wide"], ["standard"], ["no answers in wide"]),
        (["standard", "wdie"], ["standard", "wide"], ["no answers in wdie"]),
        (
            ["heart", "wide"],
            ["standard", "heart", "wide"],
            ["answers in standard instead of heart"],
        ),
        (["standard"], ["wide"], ["no answers in standard", "answers in wide instead of standard"]),
    ],
)
def test_answers_that_consumers_would_miss_are_lowered_bounds(
    params: Params, champion: list[str], candidate: list[str], words: list[str]
) -> None:
    withdrawn = withdrawn_answers(champion, candidate)
    asked = params.gate.model_dump()

    assert [one.removesuffix(" by default") for one in withdrawn] == words
    bounds = find_bounds("c0ffee", params.gate, asked, withdrawn, "")
    assert bounds.lowered == tuple(withdrawn)
    assert not bounds.allowed_by
    allowed = find_bounds("c0ffee", params.gate, asked, withdrawn, "Ada")
    assert allowed.allowed_by == ("Ada" if words else "")


@pytest.mark.parametrize("value", ["none", None, -1, 7.0, float("nan"), [1], True])
def test_what_is_no_bound_never_counts(params: Params, value: Any) -> None:
    bounds = find_bounds("c0ffee", params.gate, {"min_dice": value}, [], "Ada")

    assert bounds.used == params.gate
    assert bounds.lowered


def test_a_revision_that_does_not_know_a_bound_asks_for_nothing(params: Params) -> None:
    bounds = find_bounds("c0ffee", params.gate, {"min_accuracy": 0.95, "was_once": 3}, [], "")

    assert bounds.used == params.gate
    assert bounds.note == ""


def test_the_commit_of_the_deployed_project_counts_and_not_what_lies_there(
    settings: Settings, tmp_path: Path
) -> None:
    deployed = Path(settings.repo)
    deploy(deployed, min_dice=0.91)
    params = deployed / "params.yaml"
    params.write_text(params.read_text().replace("0.91", "0.01"))

    revision, gate = deployed_bounds(settings, Workspace(tmp_path, "x", Path(sys.executable)))

    assert gate.min_dice == 0.91
    assert revision == git(deployed, "rev-parse", "HEAD")


def test_a_deployed_project_at_an_address_is_asked_for_its_newest_commit(
    settings: Settings, tmp_path: Path
) -> None:
    deploy(Path(settings.repo), min_dice=0.92)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", settings.repo, str(clone))
    deploy(Path(settings.repo), min_dice=0.93)
    remote = replace(settings, repo=f"file://{settings.repo}")

    revision, gate = deployed_bounds(remote, Workspace(clone, "x", Path(sys.executable)))

    assert gate.min_dice == 0.93
    assert revision == git(Path(settings.repo), "rev-parse", "HEAD")


def test_a_deployed_project_without_its_bounds_is_one_line(
    settings: Settings, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, "x", Path(sys.executable))
    deployed = Path(settings.repo)
    (deployed / "params.yaml").write_text("gate: {}\n")
    git(deployed, "commit", "--quiet", "--all", "--message=broken")

    with pytest.raises(ParamsError, match=r"params\.yaml of the deployed project at \w+: "):
        deployed_bounds(settings, workspace)
    git(deployed, "rm", "--quiet", "params.yaml")
    git(deployed, "commit", "--quiet", "--message=gone")
    with pytest.raises(WorkspaceError, match=r"^git show: .*params\.yaml"):
        deployed_bounds(settings, workspace)
