from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipeline.search import launch
from pipeline.search.launch import show_result
from pipeline.search.outcomes import Trial
from pipeline.search.search_report import BestReport
from pipeline.search.space import parse_search
from pipeline.settings import Settings
from pipeline.workspace.workspace import RunRequest

TRIALS = (
    Trial(
        1,
        {"train.learning_rate": 0.002, "train.filters": [8, 16]},
        goal=0.95,
        dice=0.95,
        accuracy=0.97,
        seconds=31.25,
    ),
    Trial(
        0,
        {"train.learning_rate": 1e30, "train.filters": [4, 8]},
        reason="the loss is no number",
    ),
)

SEARCH = parse_search(
    {"method": "grid", "goal": "best_val_dice", "space": {"train.epochs": [1]}}, "a.yaml"
)


def show(goal: str, out: Path) -> tuple[str, list[str]]:
    preset = "train:\n  learning_rate: 0.002\n"
    report = BestReport(stage="best", status="found", goal=goal, trials=TRIALS, preset=preset)
    console = Console(file=io.StringIO(), width=100)
    closing = show_result(report, console, out)
    return closing, console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_trials_are_a_table_and_the_best_becomes_a_preset(tmp_path: Path) -> None:
    out = tmp_path / "presets/best.yaml"

    closing, lines = show("best_val_dice", out)

    heading = ["trial", "best_val_dice", "accuracy", "seconds", "learning_rate", "filters"]
    assert lines[1].split() == heading
    assert lines[2].split() == ["1", "0.9500", "0.9700", "31.2", "0.002", "[8,", "16]"]
    assert lines[3].split()[:3] == ["0", "failed", "1e+30"]
    assert lines[4] == "trial 0 failed: the loss is no number"
    assert closing == f"best: trial 1, best_val_dice 0.9500, written to {out}"
    assert out.read_text() == "train:\n  learning_rate: 0.002\n"


def test_another_goal_stands_beside_dice_and_accuracy(tmp_path: Path) -> None:
    _, lines = show("best_val_loss", tmp_path / "best.yaml")

    assert lines[1].split()[:4] == ["trial", "best_val_loss", "dice", "accuracy"]


def test_the_report_of_the_best_trial_crosses_airflow_unchanged() -> None:
    report = BestReport(stage="best", status="found", goal="best_val_dice", trials=TRIALS)

    assert BestReport.parse(json.loads(report.line)) == report


def test_a_search_without_services_names_its_store_without_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")
    monkeypatch.setattr(launch, "plan", lambda *_: SimpleNamespace(numbers=()))
    monkeypatch.setattr(launch, "name_best", lambda *_: None)
    monkeypatch.setattr(launch, "show_result", lambda *_: "")
    monkeypatch.setattr(launch, "close_search", lambda *_: None)

    launch.search_standalone(Settings(home=tmp_path), RunRequest(""), SEARCH, tmp_path / "out")

    assert "MLflow store: https://mlflow.example\n" in capsys.readouterr().out


def test_a_search_without_services_that_is_interrupted_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "plan", lambda *_: SimpleNamespace(numbers=(0,)))
    monkeypatch.setattr(launch, "run_search_task", interrupt)
    monkeypatch.setattr(launch, "close_search", lambda _, run_id: closed.append(run_id))

    with pytest.raises(KeyboardInterrupt):
        launch.search_standalone(Settings(home=tmp_path), RunRequest(""), SEARCH, tmp_path / "out")

    assert [run_id.partition("__")[0] for run_id in closed] == ["search"]
