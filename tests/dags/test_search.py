from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.dags.reading import ROOT, Reader, write_project


@pytest.fixture(scope="module")
def dag(read_dags: Reader, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_dags(ROOT / "dags", tmp_path_factory.mktemp("dags"), "search")


def test_trials_are_mapped_between_the_plan_and_the_best(dag: dict[str, Any]) -> None:
    assert dag["errors"] == {}
    assert dag["edges"] == {"plan": [], "trial": ["plan"], "best": ["trial"], "close": ["best"]}
    assert dag["mapped"] == ["trial"]


def test_only_trials_take_the_gpu(dag: dict[str, Any]) -> None:
    others = {tuple(place) for name, place in dag["pools"].items() if name != "trial"}

    assert dag["pools"]["trial"] == ["gpu", "gpu"]
    assert others == {("default_pool", "default")}


def test_a_failed_trial_does_not_keep_the_best_from_being_named(dag: dict[str, Any]) -> None:
    assert dag["rules"]["best"] == "all_done"


def test_a_search_is_closed_however_it_ended(dag: dict[str, Any]) -> None:
    assert dag["teardowns"] == {"close": True}
    assert dag["rules"]["close"] == "all_done_setup_success"


def test_the_form_starts_with_the_example(dag: dict[str, Any]) -> None:
    example = yaml.safe_load((ROOT / "presets/search.yaml").read_text(encoding="utf-8"))

    assert dag["params"] == {"revision": "HEAD", "overrides": [], "search": example}
    assert dag["schedule"] is None


def test_reading_the_search_imports_nothing_heavy(dag: dict[str, Any]) -> None:
    assert dag["heavy"] == []
    assert dag["seconds"] < 2  # 0.1 s alone; a test beside others gets slack


@pytest.mark.slow
def test_a_project_without_an_example_still_has_its_search(
    read_dags: Reader, tmp_path: Path
) -> None:
    write_project(tmp_path, {"a": {"cmd": "x"}})

    answer = read_dags(ROOT / "dags", tmp_path, "search", LUNGSEG_REPO=str(tmp_path))

    assert answer["errors"] == {}
    assert answer["params"]["search"] == {}


def test_each_trial_gets_its_number_and_the_plan_is_mapped_over(
    operator_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "lungseg"
    report = (
        '{"stage": "x", "status": "planned", "numbers": [0, 1], "number": "\'$LUNGSEG_TRIAL\'"}'
    )
    program.write_text(f"#!/bin/sh\necho '{report}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("LUNGSEG_BIN", str(program))
    plan = operator_module.LungsegOperator(task_id="plan", result="numbers")
    trial = operator_module.LungsegOperator(task_id="trial", number=3)

    assert plan.execute({}) == [0, 1]
    assert trial.execute({})["number"] == "3"
