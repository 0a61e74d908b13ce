from __future__ import annotations

import errno
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import app as cli
from pipeline.cli import tasks
from pipeline.errors import DatasetError, ServiceError, WorkspaceError
from pipeline.release import comparing
from pipeline.release.comparing import ComparisonResult
from pipeline.release.paired_scores import ComparedModel, pair_scores
from pipeline.run import decision, standalone, task
from pipeline.run.task_report import TaskReport
from pipeline.search import trials
from pipeline.search.space import parse_search
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import RUN_TAG, ensure_experiment
from pipeline.workspace.revisions import refuse_uncommitted
from pipeline.workspace.workspace import RunRequest
from tests.conftest import PROJECT, free_port, git, give_store, mode_of, open_to_others, small_disk
from tests.release.test_gate import score_table

Run = Callable[..., int]
GRID = {"method": "grid", "goal": "best_val_dice", "space": {"train.epochs": [1, 2]}}


@pytest.fixture
def lungseg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line in this process; returns its exit code."""

    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["lungseg", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


def test_importing_the_command_line_loads_no_heavy_library() -> None:
    code = "import sys, pipeline.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())

    assert not loaded & {"tensorflow", "mlflow", "great_expectations", "albumentations", "pandas"}


def test_an_unknown_stage_is_one_line_that_names_the_known_ones(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = lungseg("stage", "nope")

    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith("error: stage 'nope': unknown, expected one of augment, evaluate")
    assert error.count("\n") == 1


def test_a_stage_without_params_yaml_says_where_to_run_it(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert lungseg("stage", "split") == 1
    assert "params.yaml: no such file; run from the project's root" in capsys.readouterr().err


def copy_error(*codes: int) -> shutil.Error:
    """What shutil.copytree raises when it could not copy files for these reasons."""
    return shutil.Error(
        [(f"from/{n}", f"to/{n}", str(OSError(c, os.strerror(c)))) for n, c in enumerate(codes)]
    )


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (DatasetError("a\nb"), 1, "error: a b"),
        (ServiceError("silent"), 75, "error: silent"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "error: x: No space left"),
        (copy_error(errno.ENOENT, errno.EDQUOT), 1, "error: to/1: Disk quota exceeded"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_a_problem_ends_with_one_line_and_its_exit_code(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    problem: BaseException,
    code: int,
    line: str,
) -> None:
    def fail() -> None:
        raise problem

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setenv("LUNGSEG_ERROR_FILE", str(tmp_path / "error.json"))

    assert lungseg() == code
    assert capsys.readouterr().err.startswith(line)
    assert json.loads((tmp_path / "error.json").read_text())["exit_code"] == code


def test_a_folder_that_a_full_disk_does_not_take_ends_with_one_line(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "from/a").mkdir(parents=True)
    (tmp_path / "from/a/large").write_bytes(bytes(2**21))
    with small_disk(tmp_path, "1m") as small:
        copy = partial(shutil.copytree, tmp_path / "from", small / "to")
        monkeypatch.setattr(cli, "app", partial(copy, copy_function=shutil.copyfile))

        assert lungseg() == 1

    said = f"error: {small}/to/a/large: No space left on device; nothing was finished\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "defect", [OSError(errno.EIO, "Input/output error"), copy_error(errno.EIO), shutil.Error("a")]
)
def test_a_defect_is_not_dressed_up_as_a_users_problem(
    monkeypatch: pytest.MonkeyPatch, defect: OSError
) -> None:
    def fail() -> None:
        raise defect

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(OSError, match=r"Input/output error|^a$"):
        cli.main()


@pytest.mark.parametrize("overrides", ["{", '{"a": 1}', "[1]"])
def test_overrides_that_are_no_list_of_assignments_are_refused(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    overrides: str,
) -> None:
    assert lungseg("task", "train", "--run-id", "x", "--overrides", overrides) == 1
    assert "expected a JSON list of section.key=value" in capsys.readouterr().err


def test_a_task_takes_its_request_from_the_environment_and_prints_json(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def run_task(_: Settings, request: RunRequest, name: str, part: None) -> TaskReport:
        seen.extend([request, name])
        return TaskReport(stage=name, status="ran", seconds=1.5)

    monkeypatch.setattr(task, "run_task", run_task)
    for name, value in {
        "RUN_ID": "manual:1",
        "REVISION": "main",
        "OVERRIDES": '["train.epochs=3"]',
        "FORCE": "true",
        "TRIGGERED_BY": "ada",
    }.items():
        monkeypatch.setenv(f"LUNGSEG_{name}", value)

    assert lungseg("task", "train") == 0
    asked = {"force": True, "user": "ada", "source": "dags/retrain.py"}
    assert seen == [RunRequest("manual:1", "main", ("train.epochs=3",), **asked), "train"]
    assert json.loads(capsys.readouterr().out) == {
        "stage": "train",
        "status": "ran",
        "seconds": 1.5,
    }


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (["up"], "pipeline.services.control.up"),
        (["down"], "pipeline.services.control.down"),
        (["task", "train", "--run-id=a"], "pipeline.run.task.run_task"),
        (
            ["task", "plan", "--run-id=a", f"--search={json.dumps(GRID)}"],
            "pipeline.search.trials.run_search_task",
        ),
        (
            ["retrain", "--local", "--revision=main"],
            "pipeline.run.standalone.retrain_standalone",
        ),
        (
            ["search", "presets/search.yaml", "--local", "--revision=main"],
            "pipeline.search.launch.search_standalone",
        ),
        (["track"], "pipeline.run.standalone.track"),
        (["data", "diff", "HEAD"], "pipeline.dataset.versions.difference.compare_versions"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_a_verb_writes_below_the_home_is_the_users_alone(
    lungseg: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    work: str,
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)

    def write(*_: object) -> None:
        (home / "runs").mkdir()
        (home / "runs/mlflow.db").touch()
        raise WorkspaceError("enough")

    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(work, write)
    os.umask(0)

    assert lungseg(*arguments) == 1
    assert (home / "runs/mlflow.db").exists()
    assert open_to_others(home) == []


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (["predict", "a.png", "--out=b"], "pipeline.serving.masks.predict_files"),
        (["stage", "train"], "pipeline.stages.train.run"),
        (["data", "import", "a"], "pipeline.dataset.delivery.importing.import_dataset"),
        (["data", "phantom", "a", "--pairs=1"], "pipeline.dataset.synthetic.phantom.write_dataset"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_verb_that_writes_a_persons_own_folders_follows_their_umask(
    lungseg: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    work: str,
) -> None:
    def write(*_: object) -> None:
        (tmp_path / "own").touch()
        raise WorkspaceError("enough")

    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(work, write)
    os.umask(0o022)

    assert lungseg(*arguments) == 1
    assert mode_of(tmp_path / "own") == 0o644


def test_a_home_that_a_stage_makes_is_closed(
    lungseg: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("pipeline.stages.train.run", lambda *_: "trained")

    assert lungseg("stage", "train") == 0
    assert mode_of(tmp_path / "home") == 0o700


def test_up_and_status_name_the_file_of_the_password(
    lungseg: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("LUNGSEG_AIRFLOW_PASSWORD", raising=False)
    where = tmp_path / "home/airflow/passwords.json"
    for verb in ("up", "status"):
        monkeypatch.setattr(f"pipeline.services.control.{verb}", lambda _: [])

        assert lungseg(verb) == 0
        assert f"Airflow: log in as admin, password in {where}\n" in capsys.readouterr().out


def test_a_wrong_parameter_is_refused_before_a_run_starts(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PROJECT)

    assert lungseg("retrain", "--revision", "HEAD~0", "--set", "train.epochs=many") == 1
    assert "train.epochs: found 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["presets/none.yaml"], "presets/none.yaml: no such file"),
        (["params.yaml"], "params.yaml: method: found None, expected grid or tpe"),
        (["presets/search.yaml", "--set", "train.epochs=many"], "train.epochs: found 'many'"),
        (["presets/search.yaml", "--set", "augment.transforms=[]"], "copies without transforms"),
        (["presets/search.yaml", "--out", "presets"], "presets: is a folder, expected a place for"),
        (
            ["presets/search.yaml", "--out", "params.yaml/best"],
            "params.yaml is no folder, expected",
        ),
    ],
)
def test_a_wrong_search_is_refused_before_anything_starts(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(PROJECT)

    assert lungseg("search", *arguments, "--revision", "HEAD~0") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_task_of_a_search_takes_search_and_number_from_the_environment(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def run_search_task(*given: Any) -> TaskReport:
        seen.extend(given[1:])
        return TaskReport(stage="trial", status="ran")

    monkeypatch.setattr(trials, "run_search_task", run_search_task)
    monkeypatch.setenv("LUNGSEG_RUN_ID", "manual:1")
    monkeypatch.setenv("LUNGSEG_TRIAL", "1")
    monkeypatch.setenv("LUNGSEG_SEARCH", json.dumps(GRID))

    assert lungseg("task", "trial") == 0
    request = RunRequest("manual:1", source="dags/search.py")
    assert seen == [request, parse_search(GRID, "test"), "trial", 1]
    monkeypatch.setenv("LUNGSEG_SEARCH", "{")
    assert lungseg("task", "trial") == 1
    assert "error: search: method: found None" in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["", "{"])  # also one of which the search is wrong
def test_the_task_close_ends_a_search_too(
    lungseg: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: str,
) -> None:
    monkeypatch.setenv("LUNGSEG_SEARCH", asked)
    monkeypatch.setattr(task, "close_run", lambda *_: TaskReport(stage="close", status="closed"))
    monkeypatch.setattr(
        trials,
        "close_search",
        lambda _, run_id: TaskReport(stage="close", status="closed", run_id=f"{run_id} found"),
    )

    assert lungseg("task", "close", "--run-id", "abc") == 0

    assert json.loads(capsys.readouterr().out)["run_id"] == "abc found"


@pytest.mark.parametrize(
    ("status", "code"),
    [("released", 0), ("unchanged", 0), ("refused", 2), ("needs approval", 3), ("cached", 0)],
)
def test_a_task_ends_with_the_exit_code_of_its_status(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    code: int,
) -> None:
    seen: list[RunRequest] = []

    def run_task(_: Settings, request: RunRequest, name: str, part: None) -> TaskReport:
        seen.append(request)
        return TaskReport(stage=name, status=status)

    monkeypatch.setattr(task, "run_task", run_task)
    monkeypatch.setenv("LUNGSEG_ALLOW_LOWERED", "Ada")
    monkeypatch.setenv("LUNGSEG_TRIGGERED_BY", "admin")

    assert lungseg("task", "promote", "--run-id", "r") == code
    assert json.loads(capsys.readouterr().out)["status"] == status
    assert seen[0].allow_lowered == "Ada (run started by admin)"


def test_the_task_approve_keeps_the_answer_of_a_person(
    lungseg: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def decide(*given: Any) -> TaskReport:
        seen.extend(given[1:])
        return TaskReport(stage="approve", status="approved")

    monkeypatch.setattr(decision, "decide", decide)
    answer = {
        "decision": "approve",
        "by": "Dr Ada",
        "comment": "good",
        "at": "2026-11-28T00:00:00Z",
    }
    monkeypatch.setenv("LUNGSEG_ANSWER", json.dumps(answer))

    assert lungseg("task", "approve", "--run-id", "r") == 0
    assert seen == ["r", "approve", "Dr Ada", "good", "2026-11-28T00:00:00Z"]


@pytest.mark.parametrize("verb", [["approve", "r"], ["reject", "r", "--reason=x"], ["rollback"]])
def test_a_person_without_a_name_is_one_line(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verb: list[str],
) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr("getpass.getuser", nameless)

    assert lungseg(*verb, "--by", " ") == 1
    assert "--by: this account has no name, expected yours; give it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        "predict a.png --out masks --local",
        "releases --local",
        "releases verify --local",
        "releases --local verify",
        "rollback --local",
        "approve r --local",
        "reject r --reason x --local",
    ],
)
def test_the_verbs_of_releases_reach_the_store_of_runs_without_services(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verb: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / "home"))
    (tmp_path / "a.png").touch()

    assert lungseg(*verb.split()) == 1
    store = tmp_path / "home/local/mlflow.db"
    assert capsys.readouterr().err.startswith(f"error: {store}: no such database, expected the one")


def test_a_server_that_is_not_there_is_one_line(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING, "urllib3")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    assert lungseg("releases") == 75
    assert "does not answer" in capsys.readouterr().err
    assert caplog.text == ""


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"decision": "approve"}'])
def test_an_answer_that_is_none_is_one_line(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    monkeypatch.setenv("LUNGSEG_ANSWER", answer)

    assert lungseg("task", "approve", "--run-id", "r") == 1
    assert "expected JSON of decision, by, comment and at" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_preset_is_valid(name: str) -> None:
    from pipeline.params_file import check_override, read_assignments

    content = check_override(
        PROJECT / "params.yaml",
        read_assignments(PROJECT / f"presets/{name}.yaml"),
    )

    assert content["gate"]["min_dice"] == 0.95


def test_uncommitted_changes_are_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "params.yaml").write_text("a")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=first")
    refuse_uncommitted(str(tmp_path))
    refuse_uncommitted("https://example.org/project.git")
    (tmp_path / "params.yaml").write_text("b")

    with pytest.raises(WorkspaceError, match=r"^params\.yaml: changed and not committed"):
        refuse_uncommitted(str(tmp_path))


def test_a_push_of_the_dataset_names_the_store_without_its_login(
    lungseg: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUNGSEG_REMOTE", "https://ci:secret@store.example/lungs")
    monkeypatch.setattr(
        "pipeline.workspace.dataset_push.push_dataset", lambda *_: "0123456789abcdef"
    )

    assert lungseg("data", "push") == 0

    told = "pushed the dataset of 0123456789 to https://store.example/lungs\n"
    assert capsys.readouterr().out == told


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose results DVC finds up to date."""
    found = standalone._output
    monkeypatch.setattr(
        standalone,
        "_output",
        lambda command, folder: "" if command[0] == "dvc" else found(command, folder),
    )
    folder = tmp_path / "project"
    (folder / "pipeline").mkdir(parents=True)
    (folder / "dvc.yaml").write_text(
        "stages:\n  split:\n    cmd: x\n    deps: [pipeline/split.py, data]\n"
    )
    for name in ("params.yaml", "pipeline/split.py"):
        (folder / name).write_text("a: 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


def test_recording_by_hand_finds_dvc_where_the_environment_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    found = standalone._output(["dvc", "--version"], tmp_path)

    assert found == importlib.metadata.version("dvc")


def test_results_that_are_not_up_to_date_are_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "_output", lambda *_: None)

    with pytest.raises(WorkspaceError, match="results are not up to date; run `dvc repro` first"):
        standalone.track(Settings(local=True), tmp_path)


def test_a_record_that_breaks_off_does_not_look_as_if_it_were_running(
    tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings(home=tmp_path / "home", local=True)
    give_store(settings, store)

    def start_and_break_off(
        settings: Settings, client: Any, request: RunRequest, _: object
    ) -> None:
        client.create_run(ensure_experiment(settings, client), tags={RUN_TAG: request.run_id})
        raise KeyboardInterrupt

    monkeypatch.setattr(standalone, "start_record", start_and_break_off)

    with pytest.raises(KeyboardInterrupt):
        standalone.track(settings, tracked)

    with connect(settings) as client:
        [run] = client.search_runs([ensure_experiment(settings, client)])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("name", ["params.yaml", "pipeline/split.py", "pipeline/new one.py"])
def test_results_of_changes_that_are_no_commit_are_not_recorded(tracked: Path, name: str) -> None:
    (tracked / name).write_text("a: 2\n")

    with pytest.raises(WorkspaceError, match=f"^{name}: changed and not committed, so the results"):
        standalone.track(Settings(local=True), tracked)


@pytest.mark.parametrize("name", ["dvc.lock", "notes.txt", "data/x.png"])
def test_results_and_strangers_in_the_folder_do_not_keep_them_from_being_recorded(
    tracked: Path, name: str
) -> None:
    (tracked / name).parent.mkdir(exist_ok=True)
    (tracked / name).write_text("x")

    assert standalone._committed(tracked) == git(tracked, "rev-parse", "HEAD")


def test_results_outside_of_a_repository_are_not_recorded(
    tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tracked / ".git").rename(tmp_path / "gone")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))

    with pytest.raises(WorkspaceError, match="not a git repository with a commit"):
        standalone.track(Settings(local=True), tracked)


@pytest.mark.parametrize("port", ["0", "http", "65536"])
def test_a_port_that_is_none_is_refused(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    port: str,
) -> None:
    monkeypatch.setenv("LUNGSEG_MLFLOW_PORT", port)

    assert lungseg("status") == 1
    assert f"error: LUNGSEG_MLFLOW_PORT={port}: not a port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUNGSEG_AIRFLOW_URL", "http://ci:secret@127.0.0.1:808O"),
        ("MLFLOW_TRACKING_URI", "https://[::1"),
    ],
)
def test_an_address_that_is_none_is_refused(
    lungseg: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)

    assert lungseg("status") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {name}={value.replace('ci:secret@', '')}: not an address (")
    assert error.count("\n") == 1


def test_a_stage_without_its_extra_says_what_to_install(
    lungseg: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr(tasks.importlib, "import_module", missing)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)

    assert lungseg("stage", "train") == 1
    assert "error: keras: not installed; " in capsys.readouterr().err


def test_a_verb_whose_extra_is_not_installed_says_so(
    lungseg: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'filelock'", name="filelock")

    monkeypatch.setattr(cli, "app", missing)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)

    assert lungseg("data", "log") == 1
    assert "error: filelock: not installed; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "extra"), [("pipeline.gone", None), ("filelock", "the spec of dvc")]
)
def test_a_module_that_should_be_there_is_a_defect_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, name: str, extra: str | None
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(cli, "app", missing)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda _: extra)

    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_compare_prints_the_scores_the_limits_and_where_the_page_is(
    lungseg: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (
        ComparedModel(f"{name} [x]", f"run {name}", table, None, None, 0.5)
        for name, table in (
            ("one", score_table({"COVID": [0.9, 0.8]})),
            ("two", score_table({"COVID": [0.95, 0.9]})),
        )
    )
    seen: list[Any] = []

    def compare_models(*given: Any) -> ComparisonResult:
        seen.extend(given[1:])
        return ComparisonResult(pair_scores(before, after), ("No picture.",))

    monkeypatch.setattr(comparing, "compare_models", compare_models)

    assert lungseg("compare", "1", "champion") == 0
    page = Path("artifacts/comparison.html")
    assert seen == [("1", "champion"), Path.cwd(), page]
    said = capsys.readouterr().out
    for line in ("A: one [x] (run one)", "B: two [x] (run two)", "No picture.", f"page: {page}"):
        assert line in said.splitlines()
    assert "+0.07" in said


@pytest.mark.parametrize(
    ("flags", "variable", "said"),
    [
        ([], "2", "Versioned, explainable retraining"),
        ([], "1", "Versioned, explainable retraining"),
        (["-OO"], "", "error: python -OO: removes the docstrings"),
    ],
)
def test_optimised_python_does_what_python_does_or_says_what_it_cannot(
    flags: list[str], variable: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, *flags, "-m", "pipeline", "--help"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONOPTIMIZE": variable},
        capture_output=True,
        text=True,
    )

    assert said in done.stdout + done.stderr
    assert bool(done.returncode) == bool(flags)
