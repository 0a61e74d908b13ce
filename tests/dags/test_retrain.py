from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dags.reading import ROOT, Reader, write_project


@pytest.fixture(scope="module")
def dags(read_dags: Reader, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_dags(ROOT / "dags", tmp_path_factory.mktemp("dags"))


def stage_edges() -> dict[str, set[str]]:
    """Who reads whose outs, worked out from the text of dvc.yaml by prefixes."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

    def names(stage: dict[str, Any], *keys: str) -> list[str]:
        entries = [entry for key in keys for entry in stage.get(key, [])]
        return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]

    return {
        later: {
            earlier
            for earlier in stages
            for out in names(stages[earlier], "outs", "metrics", "plots")
            for dep in names(stages[later], "deps")
            if earlier != later and (f"{dep}/".startswith(f"{out}/") or out.startswith(f"{dep}/"))
        }
        for later in stages
    }


def test_dags_are_read_without_errors(dags: dict[str, Any]) -> None:
    assert dags["errors"] == {}


def test_files_without_a_dag_are_left_alone(dags: dict[str, Any]) -> None:
    assert dags["files"] == ["example_consumer.py", "retrain.py", "search.py"]


def test_edges_between_stages_are_those_of_dvc_yaml(dags: dict[str, Any]) -> None:
    expected = stage_edges()

    assert {name: set(dags["edges"][name]) for name in expected} == expected
    assert expected["evaluate"] == {"split", "train"}  # the check itself finds edges


def test_gate_follows_the_last_stage_and_promotion_the_gate(dags: dict[str, Any]) -> None:
    assert dags["edges"]["gate"] == ["report"]
    assert dags["edges"]["promote"] == ["gate"]


def test_training_takes_the_gpu_and_one_promotion_goes_on_at_a_time(dags: dict[str, Any]) -> None:
    places = {name: tuple(place) for name, place in dags["pools"].items()}

    assert places.pop("train") == ("gpu", "gpu")
    assert places.pop("promote") == ("release", "default")
    assert set(places.values()) == {("default_pool", "default")}


def test_run_is_closed_however_it_ended(dags: dict[str, Any]) -> None:
    assert dags["edges"]["close"] == ["promote"]
    assert dags["teardowns"] == {"close": True}
    assert dags["rules"]["close"] == "all_done_setup_success"


def test_only_promotion_emits_the_model(dags: dict[str, Any]) -> None:
    emitting = {name: uris for name, uris in dags["outlets"].items() if uris}

    assert emitting == {"promote": ["mlflow://models/lung-segmentation"]}
    assert dags["inlets"]["promote"] == emitting["promote"]  # it looks for earlier events


def test_form_starts_with_the_revision_at_hand_and_no_changes(dags: dict[str, Any]) -> None:
    expected = {"revision": "HEAD", "overrides": [], "force": False, "allow_lowered": ""}
    assert dags["params"] == expected


def test_reading_the_dags_is_quick_and_imports_nothing_heavy(dags: dict[str, Any]) -> None:
    assert dags["heavy"] == []
    assert dags["seconds"] < 2  # 0.1 s alone; a test beside others gets slack


def test_neither_a_run_nor_its_training_has_a_limit_unless_told(dags: dict[str, Any]) -> None:
    assert dags["limits"] == [None, None]


def test_runs_start_every_week_and_none_that_was_due_before(dags: dict[str, Any]) -> None:
    assert dags["schedule"] == ["0 0 * * 0", 0.5]


@pytest.mark.slow
def test_limits_are_settings_in_hours(read_dags: Reader, tmp_path: Path) -> None:
    limits = {"LUNGSEG_DEADLINE_HOURS": "1.5", "LUNGSEG_TRAIN_HOURS": "48"}

    assert read_dags(ROOT / "dags", tmp_path, **limits)["limits"] == [1.5, 48]


@pytest.mark.slow
def test_schedule_is_a_setting_and_a_broken_environment_does_not_hide_the_dag(
    read_dags: Reader, tmp_path: Path
) -> None:
    environment = {"LUNGSEG_SCHEDULE": "none", "LUNGSEG_REPO": "git@nowhere:x.git", "PATH": ""}

    answer = read_dags(ROOT / "dags", tmp_path, LUNGSEG_WATCH_SECONDS="0", **environment)

    assert answer["errors"] == {}
    assert answer["schedule"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "clock"), [({}, "0 0 * * 0"), ({"SCHEDULE": "none"}, None)])
def test_new_data_in_a_git_remote_start_a_run_besides_the_clock(
    read_dags: Reader, tmp_path: Path, setting: dict[str, str], clock: str | None
) -> None:
    settings = {"REPO": "git@nowhere:x.git", "WATCH_SECONDS": "10", "WATCH_BRANCH": "main"}
    environment = {f"LUNGSEG_{name}": value for name, value in (settings | setting).items()}

    answer = read_dags(ROOT / "dags", tmp_path, **environment)

    module = "pipeline.watching.data_version"
    arguments = {"repo": "git@nowhere:x.git", "seconds": 10, "branch": "main"}
    watched = {"radiographs": [f"{module}.DataVersionTrigger", arguments]}
    assert answer["errors"] == {}
    assert answer["schedule"] == {"clock": clock, "watched": watched}
    light = ["pipeline", *(f"pipeline.{name}" for name in ("errors", "git_command", "settings"))]
    assert sorted(answer["project"]) == [*light, "pipeline.watching", module]


@pytest.mark.slow
def test_stages_come_from_the_project_that_lungseg_repo_names(
    read_dags: Reader, tmp_path: Path
) -> None:
    stages = {"a": {"cmd": "x", "outs": [{"artifacts/a": {"cache": False}}]}}
    stages["b"] = {"cmd": "x", "deps": ["artifacts/a/part.csv"], "outs": ["artifacts/b/one"]}
    stages["c"] = {"cmd": "x", "deps": ["artifacts/b", "artifacts/ab"]}
    write_project(tmp_path, stages)

    answer = read_dags(ROOT / "dags", tmp_path, LUNGSEG_REPO=str(tmp_path))

    edges = {"a": [], "b": ["a"], "c": ["b"], "gate": ["c"], "promote": ["gate"]}
    assert answer["edges"] == {**edges, "close": ["promote"]}


@pytest.mark.parametrize("parts", [1, 3])
def test_stages_begin_with_their_parts_where_the_project_does_them_in_parts(
    read_dags: Reader, tmp_path: Path, parts: int
) -> None:
    stages: dict[str, Any] = {
        "a": {"cmd": "x", "outs": ["artifacts/a"]},
        "b": {"cmd": "x", "deps": ["artifacts/a"], "outs": ["c"], "meta": {"parts": True}},
        "d": {"cmd": "x", "deps": ["c"]},
    }
    write_project(tmp_path, stages, parts)

    answer = read_dags(ROOT / "dags", tmp_path, LUNGSEG_REPO=str(tmp_path))

    edges = {"a": [], "b": ["a"], "d": ["b"], "gate": ["d"], "promote": ["gate"]}
    in_parts = {"plan": [], "b_parts": ["a", "plan"], "b": ["b_parts"]}
    assert answer["edges"] == {**edges, **(in_parts if parts > 1 else {}), "close": ["promote"]}
    assert answer["mapped"] == (["b_parts"] if parts > 1 else [])
    assert answer["rules"]["b"] == ("none_failed" if parts > 1 else "all_success")


@pytest.mark.parametrize("approval", ["required", "none"])
def test_person_stands_between_gate_and_promotion_where_the_project_asks_for_it(
    read_dags: Reader, tmp_path: Path, approval: str
) -> None:
    write_project(tmp_path, {"a": {"cmd": "x"}}, approval=approval)

    answer = read_dags(ROOT / "dags", tmp_path, LUNGSEG_REPO=str(tmp_path))

    asked = {"approve": ["gate"], "promote": ["approve"]}
    after = asked if approval == "required" else {"promote": ["gate"]}
    assert answer["edges"] == {"a": [], "gate": ["a"], **after, "close": ["promote"]}
    assert answer["rules"]["promote"] == "none_failed"  # also when nobody had to be asked
