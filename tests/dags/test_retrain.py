from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dags.reading import ROOT, read_dags


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
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


def test_edges_between_stages_are_those_of_dvc_yaml(dags: dict[str, Any]) -> None:
    expected = stage_edges()

    assert {name: set(dags["edges"][name]) for name in expected} == expected
    assert expected["evaluate"] == {"split", "train"}  # the check itself finds edges


def test_gate_follows_the_last_stage_and_promotion_the_gate(dags: dict[str, Any]) -> None:
    assert dags["edges"]["gate"] == ["report"]
    assert dags["edges"]["promote"] == ["gate"]


def test_only_training_takes_the_gpu(dags: dict[str, Any]) -> None:
    assert dags["pools"].pop("train") == ["gpu", "gpu"]
    assert {tuple(place) for place in dags["pools"].values()} == {("default_pool", "default")}


def test_only_promotion_emits_the_model(dags: dict[str, Any]) -> None:
    emitting = {name: uris for name, uris in dags["outlets"].items() if uris}

    assert emitting == {"promote": ["mlflow://models/lung-segmentation"]}


def test_form_starts_with_the_revision_at_hand_and_no_changes(dags: dict[str, Any]) -> None:
    assert dags["params"] == {"revision": "HEAD", "overrides": [], "force": False}


def test_reading_the_dags_is_quick_and_imports_nothing_heavy(dags: dict[str, Any]) -> None:
    assert dags["heavy"] == []
    assert dags["seconds"] < 2  # 0.1 s alone; a test beside others gets slack


def test_runs_start_every_week_unless_told_otherwise(dags: dict[str, Any]) -> None:
    assert dags["schedule"] == "@weekly"


@pytest.mark.slow
def test_schedule_is_a_setting_and_a_broken_environment_does_not_hide_the_dag(
    tmp_path: Path,
) -> None:
    environment = {"LUNGSEG_SCHEDULE": "none", "LUNGSEG_REPO": "git@nowhere:x.git", "PATH": ""}

    answer = read_dags(ROOT / "dags", tmp_path, **environment)

    assert answer["errors"] == {}
    assert answer["schedule"] is None


@pytest.mark.slow
def test_stages_come_from_the_project_that_lungseg_repo_names(tmp_path: Path) -> None:
    stages = {"a": {"cmd": "x", "outs": [{"artifacts/a": {"cache": False}}]}}
    stages["b"] = {"cmd": "x", "deps": ["artifacts/a/part.csv"], "outs": ["artifacts/b/one"]}
    stages["c"] = {"cmd": "x", "deps": ["artifacts/b", "artifacts/ab"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")

    answer = read_dags(ROOT / "dags", tmp_path, LUNGSEG_REPO=str(tmp_path))

    edges = {"a": [], "b": ["a"], "c": ["b"], "gate": ["c"], "promote": ["gate"]}
    assert answer["edges"] == edges
