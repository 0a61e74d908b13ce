from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline.errors import ReleaseError, ServiceError
from pipeline.release.promotion import Promotion
from pipeline.run import decision, task
from pipeline.settings import Settings
from pipeline.tracking.run_record import RUN_TAG, RunRecord
from pipeline.workspace.workspace import RunRequest, Workspace
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from mlflow import MlflowClient


def test_a_stage_keeps_its_checkpoints_in_the_home_and_not_in_its_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def reproduce(workspace: Workspace, name: str, **options: Any) -> str:
        given.update(options)
        return "cached"

    monkeypatch.setattr(task, "reproduce", reproduce)
    workspace = Workspace(PROJECT, "abc", Path(sys.executable), "1")

    task._stage(Settings(home=tmp_path), RunRequest("a"), workspace, "train")

    monkeypatch.setenv("LUNGSEG_HOME", given["LUNGSEG_HOME"])
    assert Settings().checkpoints == tmp_path / "checkpoints"


def test_a_stage_that_has_begun_goes_on_without_an_answer_of_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def away(_: Settings) -> Iterator[None]:
        raise ServiceError("MLflow at http://x: does not answer")
        yield

    def reproduce(workspace: Workspace, name: str, *, started: Any, **_: Any) -> str:
        started()
        return "cached"

    monkeypatch.setattr(task, "connect", away)
    monkeypatch.setattr(task, "reproduce", reproduce)
    workspace = Workspace(PROJECT, "abc", Path(sys.executable), "1")

    assert task._stage(Settings(home=tmp_path), RunRequest("a"), workspace, "train") == "cached"

    assert "train goes on, and is recorded when it ends: MLflow at http://x" in caplog.text


def start_run(settings: Settings, client: MlflowClient) -> str:
    experiment = client.create_experiment(settings.experiment, settings.artifact_location)
    return str(client.create_run(experiment, tags={RUN_TAG: "a"}).info.run_id)


@pytest.fixture
def begun(settings: Settings, client: MlflowClient, tmp_path: Path) -> Workspace:
    """The workspace of a run whose record is there."""
    return Workspace(tmp_path, "abc", Path(sys.executable), start_run(settings, client))


@pytest.mark.parametrize("name", ["gate", "promote", "train"])
def test_a_task_that_fails_ends_the_run_as_failed_with_its_reason(
    settings: Settings,
    client: MlflowClient,
    begun: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    def fail(*_: object) -> None:
        raise ReleaseError(f"{begun.folder}/dvc.lock: the model is not what was recorded")

    monkeypatch.setattr(task, "open_workspace", lambda *_: begun)
    monkeypatch.setattr(task, "_after_stages", fail)
    monkeypatch.setattr(task, "_stage", fail)

    with pytest.raises(ReleaseError, match="not what was recorded"):
        task.run_task(settings, RunRequest("a"), name)

    run = client.get_run(str(begun.mlflow_run_id))
    assert run.info.status == "FAILED"
    assert run.data.tags[task.FAILURE_TAG] == "dvc.lock: the model is not what was recorded"


@pytest.mark.parametrize(
    ("status", "closed"),
    [("RUNNING", "FAILED"), ("FINISHED", "FINISHED"), ("SCHEDULED", "SCHEDULED")],
)
def test_closing_a_run_ends_what_no_task_has_ended(
    settings: Settings, client: MlflowClient, status: str, closed: str
) -> None:
    run_id = start_run(settings, client)
    client.update_run(run_id, status=status)

    report = task.close_run(settings, "a")

    run = client.get_run(run_id)
    assert (report.status, report.run_id) == ("closed", run_id)
    assert run.info.status == closed
    assert (task.FAILURE_TAG in run.data.tags) == (closed == "FAILED")


@pytest.mark.parametrize("name", ["gate", "promote"])
def test_a_run_whose_failure_was_made_up_for_has_no_reason_of_it(
    settings: Settings, begun: Workspace, monkeypatch: pytest.MonkeyPatch, client: Any, name: str
) -> None:
    run_id = begun.mlflow_run_id
    client.set_tag(run_id, task.FAILURE_TAG, "the store does not answer")
    client.set_terminated(run_id, "FAILED")
    monkeypatch.setattr(task, "take_recorded", lambda *_: None)
    monkeypatch.setattr(task, "stage_names", lambda _: ["report"])
    monkeypatch.setattr(task, "_stage", lambda *_: "cached")
    monkeypatch.setattr(task, "record_cached", lambda *_: None)
    monkeypatch.setattr(RunRecord, "log_artifact", lambda *_: None)
    verdict = SimpleNamespace(needs_approval=False)
    monkeypatch.setattr(task, "run_gate", lambda *_: verdict)
    monkeypatch.setattr(task.GateReport, "of", lambda *_: task.GateReport(stage="", status=""))
    monkeypatch.setattr(task, "run_promotion", lambda *_: Promotion("unchanged", "same"))

    task._after_stages(settings, RunRequest("a"), begun, name)

    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert task.FAILURE_TAG not in run.data.tags


def test_a_run_that_a_person_promotes_has_no_reason_of_an_earlier_failure(
    settings: Settings, client: MlflowClient, begun: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = str(begun.mlflow_run_id)
    client.set_tag(run_id, task.FAILURE_TAG, "the store does not answer")
    monkeypatch.setattr(decision, "open_workspace", lambda *_: begun)
    monkeypatch.setattr(decision, "run_promotion", lambda *_: Promotion("released", "version 1"))

    decision.promote_decided(settings, run_id)

    assert task.FAILURE_TAG not in client.get_run(run_id).data.tags


def test_closing_a_run_that_never_began_is_nothing(settings: Settings) -> None:
    assert task.close_run(settings, "a").run_id is None


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of the run `a`, which no task has opened yet."""
    folder = tmp_path / "workspace"
    (folder / ".git").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "uv.lock"):
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    out = {"md5": "0123abcd.dir", "size": 9, "nfiles": 4, "hash": "md5", "path": "data"}
    (folder / "data.dvc").write_text(yaml.safe_dump({"outs": [out]}))
    made = Workspace(folder, "abc", Path(sys.executable))
    monkeypatch.setattr(task, "make_workspace", lambda *_: made)
    return made


@pytest.mark.parametrize(("method", "done"), [("log_project", 0), ("log_artifact", 2)])
def test_a_record_that_was_half_made_is_made_whole_by_the_next_task(
    settings: Settings,
    client: MlflowClient,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    done: int,
) -> None:
    original, calls = getattr(RunRecord, method), iter(range(done))

    def away(record: RunRecord, *arguments: Any) -> None:
        if next(calls, None) is None:
            raise ServiceError("the artifact store does not answer")
        original(record, *arguments)

    monkeypatch.setattr(RunRecord, method, away)
    with pytest.raises(ServiceError):
        task.open_workspace(settings, RunRequest("a"))
    monkeypatch.setattr(RunRecord, method, original)

    opened = task.open_workspace(settings, RunRequest("a"))

    [run] = client.search_runs([client.get_experiment_by_name(settings.experiment).experiment_id])
    code = [file.path for file in client.list_artifacts(run.info.run_id, "code")]
    assert opened.mlflow_run_id == run.info.run_id
    assert code == [f"code/{name}" for name in ("data.dvc", "dvc.yaml", "params.yaml", "uv.lock")]
    assert run.data.params["train.engine"]
    assert [one.dataset.digest for one in run.inputs.dataset_inputs] == ["0123abcd.dir"]


@pytest.mark.parametrize("silent", ["MLflow", "store"])
def test_a_forced_stage_that_ran_is_recorded_and_pushed_by_a_retry_without_running_again(
    settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    forced, recorded, silences = [], [], ["MLflow", "store"]

    def reproduce(workspace: Workspace, name: str, *, force: bool, **_: Any) -> str:
        forced.append(force)
        return "ran" if force else "cached"

    def ask(service: str) -> None:
        if service == silent and service in silences:
            silences.remove(service)
            raise ServiceError(f"{service} does not answer")

    def finish(_: Any) -> None:
        ask("MLflow")
        recorded.append("train")

    monkeypatch.setattr(task, "reproduce", reproduce)
    monkeypatch.setattr(task._Recording, "finish", finish)
    monkeypatch.setattr(task, "push_results", lambda *_: ask("store"))
    request = RunRequest("a", force=True)

    with pytest.raises(ServiceError, match=silent):
        task._stage(settings, request, workspace, "train")
    status = task._stage(settings, request, workspace, "train")

    assert (forced, status, recorded[-1]) == ([True, False], "ran", "train")
    task._stage(settings, request, workspace, "train")  # a person cleared the task
    assert forced == [True, False, True]


def test_checkpoints_are_kept_until_the_result_of_the_training_is_pushed(
    settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, away = settings.checkpoints / "key/epoch-0001", [True]

    def train(*_: Any, LUNGSEG_FINISHED_TRAINING: str, **__: Any) -> str:
        checkpoint.mkdir(parents=True, exist_ok=True)
        Path(LUNGSEG_FINISHED_TRAINING).write_text("key")
        return "ran"

    def push(*_: Any) -> None:
        if away.pop():
            raise ServiceError("the store does not answer")

    monkeypatch.setattr(task, "reproduce", train)
    monkeypatch.setattr(task._Recording, "finish", lambda _: None)
    monkeypatch.setattr(task, "push_results", push)
    with pytest.raises(ServiceError):
        task._stage(settings, RunRequest("a"), workspace, "train")
    monkeypatch.setattr(task, "reproduce", lambda *_, **__: "cached")
    away.append(False)
    task._stage(settings, RunRequest("a"), workspace, "augment")  # says nothing of a training
    assert checkpoint.exists()
    away.append(False)

    task._stage(settings, RunRequest("a"), workspace, "train")

    assert not checkpoint.exists()
    assert not (workspace.folder / task.FINISHED_TRAINING).exists()
