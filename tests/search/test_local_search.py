"""A search without services: real git, DVC, training and an MLflow store of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.params_file import check_override, read_assignments, read_yaml
from pipeline.settings import Settings, child_environment
from pipeline.tracking.client import connect
from tests.projects import make_project

pytestmark = pytest.mark.slow

# A learning rate that no loss survives.
GRID = """
method: grid
goal: best_val_dice
space:
  train.learning_rate: [1.0e+30, 0.01]
"""
QUICK = ("augment.image_size=32", "augment.copies=0", "train.filters=[4, 8]", "train.epochs=2")


@dataclass(frozen=True)
class Searched:
    """A project in which a search was run."""

    folder: Path
    settings: Settings
    environment: dict[str, str]
    done: subprocess.CompletedProcess[str]

    def lungseg(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return call(self.folder, {**self.environment, **variables}, *arguments)

    @property
    def run_id(self) -> str:
        (folder,) = [path for path in (self.settings.home / "runs").glob("*.1") if path.is_dir()]
        return folder.name.removesuffix(".1")


def call(
    folder: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = ["lungseg", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("search") / "project"
    make_project(folder)
    (folder.parent / "search.yaml").write_text(GRID)
    home = folder / ".lungseg"
    settings = Settings(repo=str(folder), home=home, local=True)
    environment = child_environment(
        LUNGSEG_HOME=str(home),
        LUNGSEG_REPO=str(folder),
        MLFLOW_TRACKING_URI=f"sqlite:///{home}/local/mlflow.db",
    )
    flags = [f"--set={assignment}" for assignment in QUICK]
    done = call(folder, environment, "search", "../search.yaml", "--local", *flags)
    return Searched(folder, settings, environment, done)


def test_the_trial_that_finished_is_written_as_a_preset(searched: Searched) -> None:
    preset = searched.folder / "presets/best.yaml"

    assert searched.done.returncode == 0, searched.done.stdout + searched.done.stderr
    content = check_override(searched.folder / "params.yaml", read_assignments(preset))
    assert content["train"]["learning_rate"] == 0.01
    assert content["train"]["filters"] == [4, 8]
    assert "best: trial 1, best_val_dice 0." in searched.done.stdout


def test_the_trial_that_failed_is_named_with_its_reason(searched: Searched) -> None:
    lines = [line for line in searched.done.stdout.splitlines() if line.startswith("trial 0")]

    assert len(lines) == 2  # as it happened, and below the table
    assert all("failed: " in line and "loss" in line for line in lines)


def test_no_trial_looks_at_the_test_split(searched: Searched) -> None:
    runs = searched.settings.home / "runs"

    for number in (0, 1):
        workspace = runs / f"{searched.run_id}.{number}"
        assert not (workspace / "artifacts/evaluate").exists()
        assert not {"evaluate", "report"} & read_yaml(workspace / "dvc.lock")["stages"].keys()


def test_trials_are_children_of_the_search_and_say_how_they_ended(searched: Searched) -> None:
    with connect(searched.settings) as client:
        experiment = client.get_experiment_by_name(f"{searched.settings.experiment}-search")
        runs = client.search_runs([experiment.experiment_id])

    found = {run.data.tags["lungseg.run_id"]: run for run in runs}
    parent = found[searched.run_id]
    failed, finished = found[f"{searched.run_id}.0"], found[f"{searched.run_id}.1"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["lungseg.stage.augment"] == "ran"
    assert (failed.info.status, finished.info.status) == ("FAILED", "FINISHED")
    for run in (failed, finished):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["lungseg.stage.augment"] == "shared"
    assert finished.data.params["train.learning_rate"] == "0.01"
    assert 0 < finished.data.metrics["best_val_dice"] <= 1


def test_a_second_try_of_a_trial_is_the_same_trial_from_the_cache(searched: Searched) -> None:
    done = searched.lungseg(
        "task",
        "trial",
        LUNGSEG_RUN_ID=searched.run_id,
        LUNGSEG_TRIAL="1",
        LUNGSEG_SEARCH=json.dumps(read_yaml(searched.folder.parent / "search.yaml")),
        LUNGSEG_OVERRIDES=json.dumps(QUICK),
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["stage"], report["status"]) == ("trial", "cached")
    assert report["note"].endswith("learning_rate 0.01")


def test_a_wrong_file_is_one_line_before_anything_starts(
    searched: Searched, tmp_path: Path
) -> None:
    (tmp_path / "search.yaml").write_text(GRID.replace("0.01", "-1"))
    before = list((searched.settings.home / "runs").iterdir())

    done = searched.lungseg("search", str(tmp_path / "search.yaml"), "--local")

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "train.learning_rate: found -1" in done.stderr
    assert list((searched.settings.home / "runs").iterdir()) == before
