"""A training that ends within an epoch and goes on there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import write_json
from pipeline.model.batches import Batches
from pipeline.model.checkpoint import Checkpoint, Checkpoints
from pipeline.model.shards import Shards, find_shards
from pipeline.params import Params
from tests.conftest import PROJECT
from tests.model.interrupted import (
    InterruptedCheckpoints,
    difference,
    fit_undisturbed,
    fit_with_interruptions,
)
from tests.stages.test_train import SIDE, with_train, write_shards

STEPS, VALIDATION_STEPS = 4, 2
EVERYTHING: dict[str, Any] = {
    "filters": [2, 4],
    "epochs": 2,
    "deep_supervision": True,
    "loss": "bce_dice",
    "schedule": "cosine",
    "warmup_epochs": 1,
    "weight_averaging": 0.9,
    "precision": "mixed",
}
"""All that has a state."""
WITHIN = [
    "epoch-0000-0000002",
    "epoch-0001-0000001",
    "epoch-0001-0000003",  # twice in one epoch
    "epoch-0001-0000004",  # all are trained, none is validated
    "epoch-0001-0000005",  # during the validation
]


@pytest.fixture
def shards(params: Params, tmp_path: Path) -> Path:
    """Of nine pairs, and a copy of each that is drawn while training."""
    copied = {"image_size": SIDE, "copies": 1, "fresh": True, "workers": 2}
    write_shards(tmp_path, params.augment.model_copy(update=copied), train=9, val=6)
    return tmp_path / "artifacts/augment"


@pytest.mark.slow
def test_a_training_interrupted_within_an_epoch_ends_like_an_undisturbed_one(
    params: Params, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import training

    asked: list[tuple[int, int]] = []
    read = training.read_batches

    def watched(of: Shards, *arguments: Any, epoch: int = 1, **named: Any) -> Batches:
        asked.append((of.passes, epoch))
        return read(of, *arguments, epoch=epoch, **named)

    monkeypatch.setattr(training, "read_batches", watched)
    wanted = with_train(params, **EVERYTHING).train
    checkpoints = InterruptedCheckpoints(tmp_path / "some", WITHIN)

    resumed = fit_with_interruptions(wanted, shards, checkpoints)
    undisturbed = fit_undisturbed(wanted, shards, tmp_path / "none")

    assert checkpoints.names == set()
    assert difference(undisturbed, resumed) == 0
    # Each epoch has copies of its own, also where it is resumed.
    assert {epoch for passes, epoch in asked if passes == 2} == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "cpus"), [("tensorflow", 2), ("jax", 1)])
def test_so_it_does_on_two_devices_and_another_engine(
    params: Params, shards: Path, tmp_path: Path, engine: str, cpus: int
) -> None:
    wanted = with_train(params, **EVERYTHING)
    write_json(tmp_path / "params.json", wanted.model_dump(by_alias=True))
    paths = [str(path) for path in (tmp_path / "params.json", shards, tmp_path)]
    environment = {
        "KERAS_BACKEND": engine,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # else it compiles for long
    }

    done = subprocess.run(
        [sys.executable, "-m", "tests.model.interrupted", *paths, str(cpus), *WITHIN],
        env={**os.environ, **environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["missing"], found["epochs"]) == ([], 2)
    assert found["difference"] <= 1e-6


class EveryThird(Checkpoints):
    """A checkpoint is due after every third batch, and the training dies in a batch of chance."""

    def __init__(self, folder: Path, dies: int) -> None:
        super().__init__(folder)
        self.asked, self.dies = 0, dies

    @property
    def due(self) -> bool:
        self.asked += 1
        if self.asked == self.dies:
            raise InterruptedError
        return self.asked % 3 == 0


@pytest.mark.slow
def test_a_kill_loses_no_more_than_what_is_between_two_checkpoints(
    params: Params, shards: Path, tmp_path: Path
) -> None:
    from pipeline.model.training import fit

    wanted = with_train(params, epochs=2, patience=2).train
    for dies in random.Random(0).sample(range(4, 2 * STEPS), 2):
        checkpoints = EveryThird(tmp_path / str(dies), dies)
        with pytest.raises(InterruptedError):
            fit(wanted, find_shards(shards, "train"), find_shards(shards, "val"), checkpoints)

        found = checkpoints.latest()

        assert found
        assert dies - done(found) <= 3


def done(checkpoint: Checkpoint) -> int:
    """Batches, of which the last one of an epoch asks for no checkpoint within it."""
    return checkpoint.epoch * (STEPS + VALIDATION_STEPS - 1) + checkpoint.position.batches
