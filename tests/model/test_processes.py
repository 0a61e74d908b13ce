"""Several processes that train together: how they meet, and what each of them does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CrashedError, StageError
from pipeline.files import write_json
from pipeline.model import processes
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.processes import VARIABLES, join_processes, looking_on
from pipeline.params import Params
from tests.conftest import PROJECT, free_port
from tests.model.test_training import apart
from tests.stages.test_train import files, with_train, write_shards


def test_only_the_first_process_takes_time_for_checkpoints(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, every_s=0).due
    assert not processes._ToldCheckpoints(tmp_path, every_s=0).due


def training(root: Path, params: Params, number: int, port: int) -> Any:
    """`lungseg stage train` as one of two processes, in a folder of its own."""
    folder = root / str(number)
    write_json(folder / "params.yaml", params.model_dump(by_alias=True))
    write_shards(folder, train=18, val=7)
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "stage", "train"],
        env={
            **os.environ,
            **apart(number, port),
            "PYTHONPATH": str(PROJECT),
            "LUNGSEG_HOME": str(folder / ".lungseg"),
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_of_two_processes_the_first_writes_what_both_trained(
    params: Params, tmp_path: Path
) -> None:
    port, wanted = free_port(), with_train(params, engine="jax", epochs=2)

    pair = [training(tmp_path, wanted, number, port) for number in (0, 1)]
    (first, problem), (second, other_problem) = (child.communicate() for child in pair)

    assert [child.returncode for child in pair] == [0, 0], problem + other_problem
    lines = [said.splitlines()[-1] for said in (first, second)]  # Gloo speaks before
    assert lines[0].startswith("train: 2 epochs, best ")
    assert lines[1] == "train: process 1 has trained along; process 0 writes"
    assert set(files(tmp_path / "0")) == {"model.keras", "model.onnx", "history.csv", "train.json"}
    assert not (tmp_path / "1/artifacts/train").exists()
    assert not list((tmp_path / "1").rglob("epoch-*"))


@pytest.mark.slow
def test_processes_with_different_trainings_are_all_refused(params: Params, tmp_path: Path) -> None:
    port = free_port()
    rates = (0.01, 0.02)

    pair = [
        training(tmp_path, with_train(params, engine="jax", learning_rate=rate), number, port)
        for number, rate in enumerate(rates)
    ]
    complaints = [child.communicate()[1] for child in pair]

    assert [child.returncode for child in pair] == [1, 1], complaints
    assert all("found another training in process 1" in one for one in complaints)


@pytest.mark.parametrize("given", [("a:1", "", ""), ("a:1", "2", "2"), ("", "2", "0")])
def test_half_of_the_variables_are_refused(
    params: Params, monkeypatch: pytest.MonkeyPatch, given: tuple[str, str, str]
) -> None:
    for name, value in zip(VARIABLES, given, strict=True):
        monkeypatch.setenv(name, value)

    with pytest.raises(StageError, match=r"expected host:port of the first process.* set all"):
        join_processes(params.train)


def test_tensorflow_does_not_train_in_several_processes(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(VARIABLES, ("127.0.0.1:1", "2", "0"), strict=True):
        monkeypatch.setenv(name, value)
    wanted = params.train.model_copy(update={"engine": "tensorflow"})

    with pytest.raises(StageError, match=r"found tensorflow, expected jax, .* unset KERAS_"):
        join_processes(wanted)


def test_processes_that_do_not_come_are_worth_a_retry(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def initialize() -> None:
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out")

    for name, value in zip(VARIABLES, ("127.0.0.1:1", "2", "0"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(keras.distribution, "initialize", initialize)
    wanted = params.train.model_copy(update={"engine": "jax"})

    with pytest.raises(CrashedError, match=r"did not meet at 127\.0\.0\.1:1 \(DEADLINE_EXC"):
        join_processes(wanted)


def test_a_process_alone_meets_nobody(params: Params) -> None:
    join_processes(params.train)

    assert looking_on(None) is None
