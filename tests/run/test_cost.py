from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import CrashedError
from pipeline.run import cost, task
from pipeline.settings import Settings
from pipeline.tracking.live import GPUS
from pipeline.tracking.run_record import RUN_TAG
from pipeline.workspace.workspace import RunRequest, Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

HERE = socket.gethostname()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / ".git").mkdir()
    return Workspace(tmp_path, "abc", Path(sys.executable), "1")


@pytest.fixture
def run_id(settings: Settings, client: MlflowClient) -> str:
    experiment = client.create_experiment(settings.experiment, settings.artifact_location)
    return str(client.create_run(experiment, tags={RUN_TAG: "a"}).info.run_id)


def test_seconds_of_all_tries_are_added_up_with_their_hosts(
    settings: Settings, workspace: Workspace, client: MlflowClient, run_id: str
) -> None:
    client.set_tag(run_id, "lungseg.host.train", "another-host")
    for seconds in ({"split": 2.0, "train": 30.0}, {"train": 12.5}):
        for name in seconds:
            cost.keep_seconds(workspace, name, seconds[name])
        cost.record_costs(settings, "a", workspace)

    data = client.get_run(run_id).data
    expected = {"cost/split.seconds": 2, "cost/train.seconds": 42.5, "cost/gpu_seconds": 0}
    assert data.metrics == expected
    assert data.tags["lungseg.host.split"] == HERE
    assert set(data.tags["lungseg.host.train"].split()) == {"another-host", HERE}


def test_gpu_seconds_are_those_of_the_training_on_each_card_it_saw(
    settings: Settings, workspace: Workspace, client: MlflowClient, run_id: str
) -> None:
    cost.keep_seconds(workspace, "train", 30.0)  # of a try that died
    cost.record_costs(settings, "a", workspace)
    client.log_metric(run_id, GPUS, 2)
    cost.keep_seconds(workspace, "train", 20.0)
    cost.keep_seconds(workspace, "evaluate", 5.0)

    cost.record_costs(settings, "a", workspace)
    cost.record_costs(settings, "a", workspace)  # nothing is left to add

    assert client.get_run(run_id).data.metrics["cost/gpu_seconds"] == 100


def test_what_mlflow_does_not_take_is_kept_for_the_next_task(
    settings: Settings,
    workspace: Workspace,
    client: MlflowClient,
    run_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cost.keep_seconds(workspace, "split", 2.0)

    cost.record_costs(settings, "another", workspace)
    cost.record_costs(settings, "a", workspace)

    assert "what the run costs could not be recorded" in caplog.text
    assert client.get_run(run_id).data.metrics["cost/split.seconds"] == 2


def test_cached_stage_leaves_its_seconds_to_a_task_that_starts_the_client(
    settings: Settings,
    workspace: Workspace,
    client: MlflowClient,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statuses = iter(["cached", "ran"])
    monkeypatch.setattr(task, "open_workspace", lambda *_: workspace)
    monkeypatch.setattr(task, "_stage", lambda *_: next(statuses))

    task.run_task(settings, RunRequest("a"), "split")
    before = dict(client.get_run(run_id).data.metrics)
    task.run_task(settings, RunRequest("a"), "augment")

    assert before == {}
    after = {"cost/split.seconds", "cost/augment.seconds", "cost/gpu_seconds"}
    assert set(client.get_run(run_id).data.metrics) == after


def test_task_that_fails_has_its_cost(
    settings: Settings,
    workspace: Workspace,
    client: MlflowClient,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> str:
        raise CrashedError("train: stopped without giving a reason")

    monkeypatch.setattr(task, "open_workspace", lambda *_: workspace)
    monkeypatch.setattr(task, "_stage", fail)

    with pytest.raises(CrashedError):
        task.run_task(settings, RunRequest("a"), "train")

    assert "cost/train.seconds" in client.get_run(run_id).data.metrics
