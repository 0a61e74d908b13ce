"""The loop on other devices, engines and precisions than those of the machine's default."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import CrashedError
from pipeline.files import write_json
from pipeline.model.shards import find_shards
from pipeline.model.training_history import HISTORY
from pipeline.params import Params
from tests.conftest import PROJECT, free_port
from tests.stages.test_train import SIDE, nothing, take_all_memory, with_train, write_shards


def start(params: Params, root: Path, **changes: Any) -> Any:
    from pipeline.model.training import Training

    if not (root / "artifacts").exists():
        write_shards(root, train=18, val=6)
    shards = (find_shards(root / "artifacts/augment", split) for split in ("train", "val"))
    return Training(with_train(params, **changes).train, *shards)


def few_steps(root: Path, params: Params, devices: int, **variables: str) -> Any:
    file = root / f"{len(list(root.iterdir()))}.json"
    write_json(file, params.model_dump(by_alias=True))
    paths = [str(file), str(root / "artifacts/augment"), str(root / "checkpoints")]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.model.few_steps", *paths, str(devices)],
        env={**os.environ, "LUNGSEG_HOME": str(root / ".lungseg"), **variables},
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def row_of(child: Any) -> dict[str, Any]:
    said, complaint = child.communicate()
    assert child.returncode == 0, complaint
    row: dict[str, Any] = json.loads(said.splitlines()[-1])  # Gloo speaks before
    return row


def apart(number: int, port: int) -> dict[str, str]:
    """The variables of one of two processes that train together."""
    return {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
    }


CHANGES: dict[str, Any] = {
    "filters": [4, 6, 8],
    "deep_supervision": True,
    "loss": "bce_dice",
    "schedule": "cosine",
    "weight_averaging": 0.5,
    "learning_rate": 0.002,
}


def begin(params: Params, root: Path) -> Any:
    """A training and a checkpoint of its beginning, for others to begin from."""
    from pipeline.model.checkpoint import Checkpoints

    beginning = start(params, root, **CHANGES)
    Checkpoints(root / "checkpoints").save(beginning.checkpoint())
    return beginning


@pytest.mark.slow
def test_two_devices_another_engine_and_xla_give_the_losses_of_one(
    params: Params, tmp_path: Path
) -> None:
    from tests.model.few_steps import run_epoch

    beginning = begin(params, tmp_path)
    val = find_shards(tmp_path / "artifacts/augment", "val")
    one = run_epoch(beginning, with_train(params, **CHANGES).train, val)
    others = [
        few_steps(tmp_path, with_train(params, **CHANGES, engine="tensorflow"), 2),
        few_steps(tmp_path, with_train(params, **CHANGES, engine="jax"), 1),
        few_steps(
            tmp_path,
            with_train(params, **CHANGES, engine="tensorflow", xla=True, deterministic=False),
            1,
        ),
    ]
    rows = [one, *map(row_of, others)]

    assert [row.pop("replicas") for row in rows] == [1, 2, 1, 1]
    assert len(one["losses"]) == 4
    assert one["losses"][-1] < one["losses"][0]
    for found in rows[1:]:
        assert found["shown"] == one["shown"] == [[4, SIDE, SIDE]] * 3
        assert found["losses"][0] == pytest.approx(one["losses"][0], abs=1e-5)
        # Adam's first steps take the sign of a gradient, whose rounding differs.
        assert found["losses"] == pytest.approx(one["losses"], abs=5e-4)
        assert found["val_loss"] == pytest.approx(one["val_loss"], abs=2e-3)
        assert found["learning_rate"] == one["learning_rate"]


@pytest.mark.slow
def test_two_devices_and_two_processes_of_jax_give_the_losses_of_one(
    params: Params, tmp_path: Path
) -> None:
    begin(params, tmp_path)
    wanted, port = with_train(params, **CHANGES, engine="jax"), free_port()

    children = [few_steps(tmp_path, wanted, devices) for devices in (1, 2)]
    children += [few_steps(tmp_path, wanted, 1, **apart(number, port)) for number in (0, 1)]
    one, two, first, second = map(row_of, children)

    assert [row.pop("replicas") for row in (one, two, first, second)] == [1, 2, 2, 2]
    assert first == second
    for found in (two, first):
        assert found["shown"] == one["shown"]
        for name in ("losses", "loss", "val_loss"):
            assert found[name] == pytest.approx(one[name], rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_rises_and_then_follows_its_schedule(
    params: Params, schedule: str
) -> None:
    from pipeline.model.learning_rate import learning_rate

    wanted = with_train(
        params, schedule=schedule, warmup_epochs=2, epochs=6, learning_rate=0.1
    ).train
    rate = learning_rate(wanted, steps=10)

    warmup = [float(rate(step)) for step in (0, 10, 20)]
    assert warmup == pytest.approx([0, 0.05, 0.1])
    assert float(rate(40)) == pytest.approx(0.1 if schedule == "constant" else 0.05)
    assert float(rate(60)) == pytest.approx(0.1 if schedule == "constant" else 0, abs=1e-6)


@pytest.mark.slow
def test_what_is_told_of_a_batch_is_still_the_devices(params: Params, tmp_path: Path) -> None:
    told: list[Any] = []

    def keep(batch: int, means: Any) -> None:
        told.extend(means.values())

    start(params, tmp_path, epochs=1).run_epoch(keep, nothing, keep)

    assert told
    assert not [type(value) for value in told if isinstance(value, float | int)]


@pytest.mark.slow
def test_the_history_has_the_rate_of_each_epochs_last_step(params: Params, tmp_path: Path) -> None:
    training = start(params, tmp_path, schedule="cosine", epochs=2, learning_rate=0.01)

    rates = [training.run_epoch(nothing, nothing)["learning_rate"] for _ in range(2)]

    steps = np.array([3, 7])  # of 8
    assert rates == pytest.approx(0.005 * (1 + np.cos(np.pi * steps / 8)), rel=1e-5)


@pytest.mark.slow
def test_the_average_of_the_weights_validates_and_the_weights_train_on(
    params: Params, tmp_path: Path
) -> None:
    keep = 0.5
    plain = start(params, tmp_path)
    name = "x_0_0_conv1"
    seen: list[Any] = []

    def look(epoch: int, network: Any) -> None:
        seen.append(network.get_layer(name).get_weights()[0])

    plain.run_epoch(nothing, nothing)
    trained = plain._network.get_layer(name).get_weights()[0]
    averaged = start(params, tmp_path, weight_averaging=keep)
    averaged.run_epoch(nothing, look)

    np.testing.assert_array_equal(averaged._network.get_layer(name).get_weights()[0], trained)
    assert np.abs(seen[0] - trained).max() > 1e-4
    np.testing.assert_array_equal(averaged.network().get_layer(name).get_weights()[0], seen[0])


@pytest.mark.slow
def test_mixed_precision_trains_like_float32_and_leaves_a_float32_network(
    params: Params, tmp_path: Path
) -> None:
    exact = start(params, tmp_path, filters=[4, 6, 8], deep_supervision=True)
    mixed = start(params, tmp_path, filters=[4, 6, 8], deep_supervision=True, precision="mixed")

    rows = [training.run_epoch(nothing, nothing) for training in (exact, mixed)]

    assert mixed._network.get_layer("x_0_1_conv1").compute_dtype == "bfloat16"
    assert mixed._network.get_layer("lung").compute_dtype == "float32"
    assert rows[0]["loss"] != rows[1]["loss"] == pytest.approx(rows[0]["loss"], abs=0.02)
    released = mixed.network()
    assert {layer.compute_dtype for layer in released.layers} == {"float32"}
    assert {weight.dtype for weight in released.weights} == {"float32"}


@pytest.mark.slow
def test_float16_scales_its_loss_and_goes_on_from_a_checkpoint(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import training as module

    monkeypatch.setattr(module, "compute_policy", lambda precision: "mixed_float16")
    undisturbed = start(params, tmp_path, weight_averaging=0.5)
    undisturbed.run_epoch(nothing, nothing)
    resumed = start(params, tmp_path, weight_averaging=0.5)
    resumed.restore(undisturbed.checkpoint())
    resumed.history = undisturbed.history[:]

    assert type(resumed._supervised.optimizer).__name__ == "LossScaleOptimizer"
    assert resumed.run_epoch(nothing, nothing) == undisturbed.run_epoch(nothing, nothing)


@pytest.mark.parametrize("part", ["_build", "_fit", "_validate", "checkpoint", "network"])
def test_a_full_memory_is_worth_a_retry_wherever_it_shows(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    from pipeline.model import training
    from pipeline.model.checkpoint import Checkpoint, Checkpoints

    def an_epoch(self: Any, *_: Any) -> dict[str, float]:
        row = {**dict.fromkeys(HISTORY.columns, 0.5), "epoch": 1}
        self.history.append(row)
        return row

    write_shards(tmp_path, train=4, val=2)
    shards = [find_shards(tmp_path / "artifacts/augment", split) for split in ("train", "val")]
    monkeypatch.setattr(training.Training, part, take_all_memory)
    if part in ("checkpoint", "network"):  # they come after an epoch, which takes long
        monkeypatch.setattr(training.Training, "run_epoch", an_epoch)
    if part == "network":
        monkeypatch.setattr(training.Training, "checkpoint", lambda _: Checkpoint([], [], []))

    with pytest.raises(CrashedError, match=r"out of memory \(.+\); .*lower train\.batch_size"):
        training.fit(with_train(params, epochs=1).train, *shards, Checkpoints(tmp_path / "c"))
