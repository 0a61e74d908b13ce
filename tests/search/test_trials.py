"""What MLflow keeps of a search: values given once, trials that failed, the best."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import ParamsError, SearchError
from pipeline.params_file import check_override, read_assignments
from pipeline.run.task import FAILURE_TAG, open_workspace
from pipeline.search import trials
from pipeline.search.outcomes import FAILURE, GIVEN, PARENT_TAG, read_trials, trial_runs
from pipeline.search.search_report import BestReport
from pipeline.search.space import Search, parse_search
from pipeline.search.trials import (
    close_search,
    give_values,
    run_search_task,
    run_trial,
    search_settings,
)
from pipeline.settings import Settings
from pipeline.tracking.run_record import RUN_TAG, RunRecord, open_record
from pipeline.workspace.workspace import RunRequest
from tests.conftest import PROJECT, git, give_store

DATA = {"outs": [{"md5": "0123abcd.dir", "size": 9, "nfiles": 4, "hash": "md5", "path": "data"}]}
REQUEST = RunRequest("s1", overrides=("train.epochs=2", "augment.image_size=32"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    """A repository with what a search reads of the project, and a store without a server."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    for folder in (".dvc", "pipeline"):
        (project / folder).mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "uv.lock", "pipeline/conventions.py"):
        shutil.copy(PROJECT / name, project / name)
    (project / "data.dvc").write_text(yaml.safe_dump(DATA))
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=first")
    settings = Settings(repo=str(project), home=tmp_path / "home", local=True)
    give_store(settings, store)
    return settings


def search(goal: str = "best_val_dice", **space: Any) -> Search:
    named = {f"train.{key}": values for key, values in space.items()} or {
        "train.learning_rate": {"low": 0.001, "high": 0.1, "log": True}
    }
    content = {"method": "tpe", "trials": 4, "seed": 7, "goal": goal, "space": named}
    return parse_search(content, "search.yaml")


@pytest.fixture
def parent(settings: Settings, client: MlflowClient) -> RunRecord:
    """The record of a search that was planned."""
    searches = search_settings(settings)
    open_workspace(searches, REQUEST)
    return open_record(searches, client, REQUEST.run_id)


def finish(parent: RunRecord, number: int, **metrics: float) -> None:
    """Make the run of a trial, FINISHED with metrics, or still RUNNING without."""
    tags = {RUN_TAG: f"{REQUEST.run_id}.{number}", PARENT_TAG: parent.run_id}
    run = parent.client.create_run(parent.run.info.experiment_id, tags=tags)
    for name, value in metrics.items():
        parent.client.log_metric(run.info.run_id, name, value)
    if metrics:
        parent.client.set_terminated(run.info.run_id, "FINISHED")


def best(settings: Settings, asked: Search) -> BestReport:
    report = run_search_task(settings, REQUEST, asked, "best", 0)
    assert isinstance(report, BestReport)
    return report


def test_searches_are_an_experiment_of_their_own(settings: Settings, parent: RunRecord) -> None:
    experiment = parent.client.get_experiment(parent.run.info.experiment_id)

    assert experiment.name == f"{settings.experiment}-search"


def test_a_second_try_of_a_trial_gets_the_values_of_the_first(parent: RunRecord) -> None:
    asked = search()
    first = [give_values(parent, asked, number) for number in range(3)]
    finish(parent, 0, best_val_dice=0.9)
    finish(parent, 2, best_val_dice=0.1)

    again = [give_values(parent, asked, number) for number in range(3)]

    assert again == first
    assert len({values["train.learning_rate"] for values in first}) == 3


def test_a_trial_is_proposed_from_those_that_finished(
    parent: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = search()
    given = [give_values(parent, asked, number) for number in range(3)]
    finish(parent, 1, best_val_dice=0.9)
    finish(parent, 0, best_val_dice=0.8)
    finish(parent, 2)
    seen: list[Any] = []

    def propose(*known: Any) -> dict[str, Any]:
        seen.extend(known)
        return {"train.learning_rate": 0.01}

    monkeypatch.setattr(trials, "propose", propose)
    give_values(parent, asked, 3)

    assert seen == [asked, 3, [(given[0], 0.8), (given[1], 0.9)], [given[2]]]


def test_the_best_is_named_beside_a_trial_that_failed_and_one_that_never_began(
    settings: Settings, parent: RunRecord
) -> None:
    asked = search()
    values = [give_values(parent, asked, number) for number in range(3)]
    finish(parent, 0, best_val_dice=0.8, best_val_accuracy=0.85)
    finish(parent, 1)
    parent.client.set_tag(parent.run_id, f"{FAILURE}1", "the loss is no number")
    finish(parent, 2, best_val_dice=0.9, best_val_accuracy=0.95)

    report = best(settings, asked)

    assert [trial.number for trial in report.trials] == [2, 0, 1, 3]
    assert [trial.reason for trial in report.trials] == [
        "",
        "",
        "the loss is no number",
        "it was never begun; see the log of its task",
    ]
    assert asdict(report.trials[0]) | {"seconds": 0.0} == {
        "number": 2,
        "values": values[2],
        "goal": 0.9,
        "dice": 0.9,
        "accuracy": 0.95,
        "seconds": 0.0,
        "reason": "",
        "run_id": report.trials[0].run_id,
    }
    ended = parent.client.get_run(parent.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.tags["lungseg.best"].startswith("trial 2: learning_rate 0.0")
    note = ended.data.tags["mlflow.note.content"].splitlines()
    assert note[0] == "The best of 4 trials, 2 of which failed:"
    assert [line.split(" | ")[:2] for line in note[4:]] == [["| 2", "0.9000"], ["| 0", "0.8000"]]
    killed = parent.client.get_run(report.trials[2].run_id or "")
    assert killed.info.status == "FAILED"


def test_the_preset_has_all_that_the_best_trial_was_given(
    settings: Settings, parent: RunRecord, tmp_path: Path
) -> None:
    asked = search(epochs=[5], filters=[[4, 8], [8, 16]], encoder=["plain"])
    values = {"train.epochs": 5, "train.filters": [4, 8], "train.encoder": "plain"}
    parent.client.set_tag(parent.run_id, f"{GIVEN}0", json.dumps(values))
    finish(parent, 0, best_val_dice=0.8)

    text = best(settings, asked).preset

    preset = tmp_path / "best.yaml"
    preset.write_text(text)
    assert yaml.safe_load(text) == {
        "train": {"epochs": 5, "filters": [4, 8], "encoder": "plain"},
        "augment": {"image_size": 32},
    }
    check_override(PROJECT / "params.yaml", read_assignments(preset))
    header = "".join(line for line in text.splitlines() if line.startswith("#"))
    commit = git(Path(settings.repo), "rev-parse", "HEAD")
    for fact in ("s1", "best_val_dice 0.8000", "trial 0", "seed 7", commit, "0123abcd.dir"):
        assert fact in header
    downloaded = parent.client.download_artifacts(parent.run_id, "preset.yaml", str(tmp_path))
    assert Path(downloaded).read_text() == text


@pytest.mark.parametrize(
    ("goal", "expected"), [("best_val_dice", [2, 0, 1]), ("best_val_loss", [1, 0, 2])]
)
def test_a_loss_is_best_when_small_and_of_equals_the_earlier_wins(
    settings: Settings, parent: RunRecord, goal: str, expected: list[int]
) -> None:
    asked = search(goal)
    for number, value in enumerate((0.5, 0.4, 0.6, 0.5)):
        give_values(parent, asked, number)
        finish(parent, number, **{goal: value})

    order = [trial.number for trial in best(settings, asked).trials]

    assert order == [expected[0], 0, 3, expected[2]]


def test_a_search_that_ended_well_keeps_no_failure(settings: Settings, parent: RunRecord) -> None:
    asked = search()
    give_values(parent, asked, 0)
    finish(parent, 0, best_val_dice=0.5)
    parent.client.set_tag(parent.run_id, FAILURE_TAG, "the store does not answer")

    best(settings, asked)

    run = parent.client.get_run(parent.run_id)
    assert (run.info.status, FAILURE_TAG in run.data.tags) == ("FINISHED", False)


def test_a_search_without_a_finished_trial_fails_with_the_first_reason(
    settings: Settings, parent: RunRecord
) -> None:
    asked = search()
    give_values(parent, asked, 0)
    parent.client.set_tag(parent.run_id, f"{FAILURE}0", "the loss is no number")

    with pytest.raises(SearchError, match=r"none of 4 trials finished; .*the loss is no number"):
        best(settings, asked)

    assert parent.client.get_run(parent.run_id).info.status == "FAILED"


def test_closing_a_search_ends_what_no_task_has_ended(
    settings: Settings, parent: RunRecord
) -> None:
    finish(parent, 0, best_val_dice=0.5)
    finish(parent, 1)

    report = close_search(settings, REQUEST.run_id)

    assert (report.status, report.run_id) == ("closed", parent.run_id)
    ended = parent.client.get_run(parent.run_id)
    assert ended.info.status == "FAILED"
    assert ended.data.tags[FAILURE_TAG] == "a task was killed or never began"
    found = {run.data.tags[RUN_TAG]: run.info.status for run in trial_runs(parent)}
    assert found == {"s1.0": "FINISHED", "s1.1": "FAILED"}


def test_closing_a_search_whose_best_was_named_changes_nothing(
    settings: Settings, parent: RunRecord
) -> None:
    asked = search()
    give_values(parent, asked, 0)
    finish(parent, 0, best_val_dice=0.5)
    best(settings, asked)

    close_search(settings, REQUEST.run_id)

    run = parent.client.get_run(parent.run_id)
    assert (run.info.status, FAILURE_TAG in run.data.tags) == ("FINISHED", False)


def test_closing_a_search_that_never_began_is_nothing(
    settings: Settings, client: MlflowClient
) -> None:
    assert close_search(settings, "never").run_id is None


def test_a_trial_that_cannot_begin_leaves_its_reason(settings: Settings, parent: RunRecord) -> None:
    asked = search(filters=[[4]])

    with pytest.raises(ParamsError, match=r"train\.filters"):
        run_trial(search_settings(settings), REQUEST, asked, 0)

    (trial,) = read_trials(parent, asked)
    assert trial.reason.endswith("at least 2 items after validation, not 1")
    assert trial.run_id is None


def test_a_silent_server_hides_no_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise SearchError("the loss is no number")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(trials, "_run_trial", fail)

    with pytest.raises(SearchError, match="the loss is no number"):
        run_trial(search_settings(settings), REQUEST, search(), 0)


def test_a_plan_for_parameters_that_this_revision_does_not_have_is_recorded(
    settings: Settings, client: MlflowClient
) -> None:
    with pytest.raises(ParamsError, match=r"no key train\.nothing"):
        run_search_task(settings, REQUEST, search(nothing=[1, 2]), "plan", 0)

    record = open_record(search_settings(settings), client, REQUEST.run_id)
    assert record.run.info.status == "FAILED"
    assert "train.nothing" in record.run.data.tags["lungseg.failure"]
