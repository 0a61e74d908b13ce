from __future__ import annotations

import csv
import logging
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import CrashedError, StageError
from pipeline.files import read_json, write_json
from pipeline.fingerprints import code_files
from pipeline.model import checkpoint, heartbeat
from pipeline.model.checkpoint import Checkpoints
from pipeline.model.engine import TrainingEnvironment, training_environment
from pipeline.model.shards import encode_record, find_shards, write_shard
from pipeline.params import AugmentParams, Params
from pipeline.settings import Settings
from pipeline.stages import train
from tests.augmented import write_summary
from tests.conftest import draw_pair

SIDE = 32


def with_train(params: Params, **changes: Any) -> Params:
    small = {"filters": [4, 8], "epochs": 3, "learning_rate": 0.01, "batch_size": 4, **changes}
    return params.model_copy(update={"train": params.train.model_copy(update=small)})


def write_shards(root: Path, fresh: AugmentParams | None = None, **records: int) -> None:
    folder = root / "artifacts/augment"
    folder.mkdir(parents=True)
    for split, count in records.items():
        encoded = []
        for i in range(count):
            image, mask = draw_pair(i, SIDE)
            lung = np.asarray(mask.convert("L"))
            encoded.append(encode_record(f"A/{i}", np.asarray(image), lung))
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", encoded)
    write_summary(folder, SIDE, fresh, **records)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / ".lungseg"))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    write_shards(tmp_path, train=18, val=6)
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "artifacts/train").iterdir()}


def checkpoints(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".lungseg/checkpoints").glob("*/epoch-*"))


def history(root: Path) -> list[dict[str, float]]:
    with (root / "artifacts/train/history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_training_learns_and_leaves_its_files(
    params: Params, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.inference.predictor import Predictor

    caplog.set_level(logging.INFO, "pipeline")

    line = train.run(with_train(params, epochs=12, patience=12), root)

    rows = history(root)
    summary = read_json(root / "artifacts/train/train.json")
    best = min(rows, key=lambda row: row["val_loss"])
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert set(rows[0]) == set(train_columns())
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert summary["best_val_dice"] == best["val_dice"] > 0.8
    assert (summary["epochs"], summary["best_epoch"]) == (12, best["epoch"])
    assert summary["network_parameters"] > 1000
    assert 0 <= summary["onnx_max_difference"] <= 1e-4
    assert f"validation Dice {best['val_dice']:.4f}" in line
    told = [line for line in caplog.messages if re.match(r"epoch \d+/12: loss .* images/s", line)]
    assert len(told) == 12

    pairs = [draw_pair(i, SIDE) for i in range(6)]
    found = Predictor(root / "artifacts/train/model.onnx").predict(
        [np.asarray(image) for image, _ in pairs]
    )
    truth = [np.asarray(mask.convert("L")) > 0 for _, mask in pairs]
    accuracy = np.mean([(lung >= 0.5) == mask for lung, mask in zip(found, truth, strict=True)])
    assert accuracy == pytest.approx(summary["best_val_accuracy"], abs=1e-4)


def nothing(*arguments: Any, **named: Any) -> None:
    """Nobody watches."""


def train_columns() -> tuple[str, ...]:
    from pipeline.model.training_history import HISTORY

    return tuple(HISTORY.columns)


def environment(keras: str = "3") -> TrainingEnvironment:
    return TrainingEnvironment(
        keras, engine="tensorflow", engine_version="2", devices=[], replicas=1
    )


@pytest.mark.slow
def test_an_interrupted_training_ends_like_an_undisturbed_one(
    params: Params,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipeline.model import training

    # All that has a state at once; the training that is killed below has nothing of it.
    wanted = with_train(
        params,
        epochs=4,
        deep_supervision=True,
        loss="bce_dice",
        schedule="cosine",
        warmup_epochs=1,
        weight_averaging=0.9,
        precision="mixed",
    )
    train.run(wanted, root)
    undisturbed = files(root)
    end = training.EpochLog.end

    def interrupted(self: training.EpochLog, row: training.EpochRow) -> None:
        end(self, row)
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    caplog.set_level(logging.INFO, "pipeline")
    caplog.clear()
    with monkeypatch.context() as patched:
        patched.setattr(training.EpochLog, "end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.run(wanted, root)
    assert checkpoints(root) == ["epoch-0002", "epoch-0003"]
    train.run(wanted, root)

    assert set(undisturbed) == {"model.keras", "model.onnx", "history.csv", "train.json"}
    assert files(root) == undisturbed
    assert checkpoints(root) == []
    said = [line for line in caplog.messages if re.match(r"epoch \d/\d:|resuming", line)]
    assert [line.split(":")[0].split(" (")[0] for line in said] == [
        "epoch 1/4",
        "epoch 2/4",
        "epoch 3/4",
        "resuming after epoch 3 of 4",
        "epoch 4/4",
    ]


@pytest.mark.slow
def test_random_layers_go_on_as_if_undisturbed(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    from pipeline.model import training

    def build(image_size: int, params: Any, **_: Any) -> Any:
        radiograph = keras.Input((image_size, image_size, 1))
        dropped = keras.layers.Dropout(0.5, seed=3)(keras.layers.Rescaling(1 / 255)(radiograph))
        return keras.Model(radiograph, keras.layers.Conv2D(1, 3, padding="same")(dropped))

    def start() -> training.Training:
        shards = (find_shards(root / "artifacts/augment", split) for split in ("train", "val"))
        return training.Training(with_train(params).train, *shards)

    monkeypatch.setattr(training, "build_unetpp", build)
    undisturbed = start()
    undisturbed.run_epoch(nothing, nothing)
    checkpoint = undisturbed.checkpoint()
    row = undisturbed.run_epoch(nothing, nothing)
    resumed = start()
    resumed.restore(replace(checkpoint, history=checkpoint.history[:1]))

    assert resumed.run_epoch(nothing, nothing) == row
    wanted, found = undisturbed.checkpoint().state, resumed.checkpoint().state
    assert [array.tobytes() for array in found] == [array.tobytes() for array in wanted]
    # The state of the dropout's seeds, and the optimizer's count of steps.
    whole = [array.shape for array in found if array.dtype.kind in "iu"]
    assert whole == [(2,), ()]


@pytest.mark.parametrize(
    "changes", [{"seed": 8}, {"epochs": 4}, {"patience": 1}, {"learning_rate": 0.02}]
)
def test_other_parameters_are_another_training(
    params: Params, root: Path, changes: dict[str, Any]
) -> None:
    inputs = list((root / "artifacts/augment").iterdir())
    key = train.training_key(with_train(params).train, inputs, environment())

    assert train.training_key(with_train(params).train, inputs[::-1], environment()) == key
    assert train.training_key(with_train(params, **changes).train, inputs, environment()) != key


def test_other_inputs_or_libraries_are_another_training(params: Params, root: Path) -> None:
    inputs = list((root / "artifacts/augment").iterdir())
    keys = {train.training_key(params.train, inputs, environment(version)) for version in "12"}
    for path in inputs:
        path.write_bytes(path.read_bytes() + b" ")
        keys.add(train.training_key(params.train, inputs, environment("1")))

    assert len(keys) == 2 + 3


def test_another_code_is_another_training(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inputs = list((root / "artifacts/augment").iterdir())
    before = train.training_key(params.train, inputs, environment())
    (tmp_path / "losses.py").write_text("# another loss")
    code = {**code_files("train"), "pipeline/model/losses.py": tmp_path / "losses.py"}

    monkeypatch.setattr(train, "code_files", lambda stage: code)

    assert train.training_key(params.train, inputs, environment()) != before


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_stops_within_the_epoch(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model.training import Training

    run_epoch = Training.run_epoch

    def run_epoch_and_lose_the_disk(self: Training, *observing: Any) -> Any:
        row = run_epoch(self, *observing)
        if row["epoch"] == 2:
            (folder,) = (root / ".lungseg/checkpoints").glob("*/")
            folder.rename(root / "gone")
            folder.touch()
        return row

    monkeypatch.setattr(Training, "run_epoch", run_epoch_and_lose_the_disk)

    with pytest.raises(StageError, match=r"epoch-0002: the checkpoint cannot be written"):
        train.run(with_train(params), root)
    assert not (root / "artifacts/train").exists()
    assert [path.name for path in (root / "gone").glob("epoch-*")] == ["epoch-0001"]


KILLS = {"tensorflow": 10, "jax": 2}
"""On JAX fewer: each process compiles anew, which takes longer than the rest."""


def train_until(folder: Path, moment: int) -> None:
    """The command `stage train` in `folder`, killed at a moment after its first epoch.

    A moment is a call of Python's, counted from the first checkpoint: chance decides which one,
    not how busy the machine is. For a process of its own that has TensorFlow imported: importing
    it takes longer than the rest.
    """
    from pipeline.cli.app import main

    calls = trained = 0
    save = Checkpoints.save
    # After every batch, so that it is killed within epochs, too.
    train.hold_checkpoints = partial(train.hold_checkpoints, every_s=0)  # type: ignore[assignment]

    def tick(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_save(self: Checkpoints, checkpoint: Any) -> None:
        nonlocal trained
        trained = calls
        sys.setprofile(tick)  # not before: it slows the tracing of the network down
        save(self, checkpoint)

    os.chdir(folder)
    os.environ["LUNGSEG_HOME"] = str(folder / ".lungseg")
    sys.argv = ["lungseg", "stage", "train"]
    Checkpoints.save = watched_save  # type: ignore[method-assign]
    with Path("log.txt").open("a", encoding="utf-8") as sys.stderr:
        try:
            main()
        finally:
            sys.setprofile(None)
            write_json(Path("calls.json"), trained)


def train_in_child(folder: Path, moment: int = 0) -> int | None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.model.training", "pipeline.cli.app", __name__])
    child = context.Process(target=train_until, args=(folder, moment))
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_like_an_undisturbed_one(
    params: Params, root: Path
) -> None:
    kills = KILLS[params.train.engine]
    epochs = kills + 2  # a training that is killed gets at most an epoch further
    small = with_train(params, epochs=epochs, patience=epochs)
    write_json(root / "params.yaml", small.model_dump(by_alias=True))  # JSON is YAML
    log = root / "log.txt"
    assert train_in_child(root) == 0, log.read_text()
    undisturbed = files(root)
    log.unlink()
    moments = random.Random(0)
    longest = read_json(root / "calls.json") // (kills + 1)

    for _ in range(kills):
        killed = train_in_child(root, moments.randint(1, longest))
        assert killed == -signal.SIGKILL, log.read_text()
    assert train_in_child(root) == 0, log.read_text()

    assert files(root) == undisturbed
    resumed = rf"resuming after epoch \d+ of {epochs}, batch [1-5] of the next"
    assert re.search(resumed, log.read_text())
    reported = re.findall(r"^epoch (\d+)/\d+: ", log.read_text(), re.MULTILINE)
    assert len(reported) == len(set(reported))
    assert [row["epoch"] for row in history(root)] == list(range(1, epochs + 1))
    assert checkpoints(root) == []


def take_all_memory(*arguments: Any, **named: Any) -> None:
    import keras

    keras.ops.zeros((2**22, 2**22))  # 64 TiB


@pytest.mark.slow
def test_an_export_that_fails_loses_no_training(
    params: Params, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import export

    caplog.set_level(logging.INFO, "pipeline")
    with monkeypatch.context() as patched:
        patched.setattr(export, "MAX_DIFFERENCE", -1.0)
        with pytest.raises(StageError, match="level 0 differs from the network"):
            train.run(with_train(params, epochs=2), root)
    with monkeypatch.context() as patched:
        patched.setattr(export, "check_export", take_all_memory)
        with pytest.raises(CrashedError, match=r"out of memory .*lower train\.batch_size"):
            train.run(with_train(params, epochs=2), root)
    assert not (root / "artifacts/train").exists()
    assert checkpoints(root) == ["epoch-0001", "epoch-0002"]

    train.run(with_train(params, epochs=2), root)

    assert "resuming after epoch 2 of 2" in caplog.text
    assert checkpoints(root) == []


@pytest.mark.slow
def test_in_a_task_a_finished_training_can_end_once_more(
    params: Params, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    monkeypatch.setenv("LUNGSEG_FINISHED_TRAINING", str(root / "finished"))
    made = root / "artifacts/train"
    train.run(with_train(params, epochs=1), root)
    first = {path.name: path.read_bytes() for path in made.iterdir()}
    shutil.rmtree(made)  # as DVC does before it tries a stage again whose result it did not keep

    train.run(with_train(params, epochs=1), root)

    assert "resuming after epoch 1 of 1" in caplog.text
    assert {path.name: path.read_bytes() for path in made.iterdir()} == first
    key = (root / "finished").read_text()
    assert [path.name for path in Settings().checkpoints.glob("*/")] == [key]


@pytest.mark.slow
def test_training_stops_when_the_validation_loss_no_longer_falls(
    params: Params, root: Path
) -> None:
    train.run(with_train(params, epochs=60, patience=2, learning_rate=0.5), root)

    rows = history(root)
    best = min(rows, key=lambda row: row["val_loss"])
    assert len(rows) == best["epoch"] + 2 < 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_loss_that_is_no_number_stops_within_the_epoch(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import training

    monkeypatch.setattr(
        training, "loss_function", lambda name: lambda truth, heads: heads[:, 0, 0, 0] * math.nan
    )

    with pytest.raises(StageError, match=r"loss is nan in epoch 1, .*lower train\.learning_rate"):
        train.run(with_train(params), root)
    assert not (root / "artifacts/train").exists()


def test_a_validation_loss_that_is_no_number_stops_the_training(params: Params) -> None:
    from pipeline.model.training import check_finite

    with pytest.raises(StageError, match="val_loss is inf in epoch 5"):
        check_finite("val_loss", math.inf, 5, params.train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "00001.tfrecord: found a truncated record 17"),
        ("other size", ": found image of 1024 pixels, expected 64 x 64"),
        ("fewer records", "found 18 records in all shards, expected 99"),
    ],
)
def test_damaged_shards_are_refused(params: Params, root: Path, damage: str, reason: str) -> None:
    folder = root / "artifacts/augment"
    shard = folder / "train-00000-of-00001.tfrecord"
    made = read_json(folder / "augment.json")
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "other size":
        write_json(folder / "augment.json", made | {"image_size": 64})
    else:
        write_json(folder / "augment.json", made | {"records": {"train": 99, "val": 6}})

    with pytest.raises(
        StageError, match=rf"augment: a shard is damaged or of .*{re.escape(reason)}"
    ) as info:
        train.run(with_train(params, epochs=1), root)
    assert "\n" not in str(info.value)


@pytest.mark.slow
def test_every_part_of_a_training_is_told_every_minute(
    params: Params, root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert heartbeat.EVERY_S <= 60
    assert checkpoint.INTERVAL_S + heartbeat.EVERY_S <= 300  # what a kill loses at most
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.001)
    caplog.set_level(logging.INFO, "pipeline")
    original = train.training_key

    def training_key(*arguments: Any) -> str:
        time.sleep(0.3)  # as many shards take
        return original(*arguments)

    monkeypatch.setattr(train, "training_key", training_key)

    train.run(with_train(params, epochs=1), root)

    for part in (
        r"preparing: meeting other processes, if any, and reading all shards, \d+ s so far",
        r"building the network, \d+ s so far",
        r"preparing epoch 1/1: compiling the first step",
        r"epoch 1/1, \d+ % trained",
        r"writing and checking the network, \d+ s so far",
    ):
        assert any(re.match(part, line) for line in caplog.messages), part


def test_copies_are_drawn_by_the_processes_that_augment_has_by_known_libraries(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model import training

    monkeypatch.setenv("LUNGSEG_HOME", str(tmp_path / ".lungseg"))
    drawn = params.augment.model_copy(update={"fresh": True, "image_size": SIDE, "workers": 0})
    write_shards(tmp_path, drawn, train=4, val=2)
    seen: list[Any] = []
    key = train.training_key

    def watched_key(given: Any, inputs: list[Path], environment: TrainingEnvironment) -> str:
        seen.append(environment.drawing)
        return key(given, inputs, environment)

    def watched_fit(given: Any, shards: Any, *others: Any) -> None:
        seen.append(shards.fresh.workers)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "training_key", watched_key)
    monkeypatch.setattr(training, "fit", watched_fit)
    wanted = with_train(params)
    augment = drawn.model_copy(update={"workers": 3})

    with pytest.raises(KeyboardInterrupt):
        train.run(wanted.model_copy(update={"augment": augment}), tmp_path)

    assert seen == [training_environment(drawing=True).drawing, 3]
    assert seen[0]


@pytest.mark.parametrize(
    ("devices", "shell", "cards", "warned"),
    [([], {}, 2, True), (["H200"], {}, 2, False), ([], {}, 0, False)]
    + [([], {name: ""}, 2, False) for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")],
)
def test_a_card_that_the_engine_does_not_see_is_warned_of(
    devices: list[str],
    shell: dict[str, str],
    cards: int,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(train, "listed_cards", lambda: cards)

    train.warn_of_idle_cards(replace(environment(), devices=devices))

    said = [
        "found 2 GPUs that tensorflow 2 does not see, so the CPU trains; install it for them "
        "(`make setup EXTRA=gpu`), or say that the CPU is meant (CUDA_VISIBLE_DEVICES=)"
    ]
    assert caplog.messages == (said if warned else [])


def test_training_before_augmenting_is_refused(params: Params, tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"augment\.json: no such file.*run the stage augment first"
    ):
        train.run(with_train(params), tmp_path)


@pytest.mark.slow
def test_epochs_go_to_the_run_that_the_settings_name(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking.live import LiveRun

    seen: list[tuple[str, float]] = []
    told: list[tuple[str, int]] = []
    shown: dict[int, tuple[Any, Any, Any]] = {}
    gpus: list[int] = []
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.setattr(LiveRun, "log_gpus", lambda self, count: gpus.append(count))
    monkeypatch.setattr(
        LiveRun, "log_epoch", lambda self, row: seen.append((self._run_id, row["epoch"]))
    )
    monkeypatch.setattr(
        LiveRun, "log_progress", lambda self, text, step, values: told.append((text, step))
    )
    monkeypatch.setattr(
        LiveRun, "log_examples", lambda self, epoch, *pictures: shown.update({epoch: pictures})
    )

    train.run(with_train(params, epochs=5, weight_averaging=0.5), root)

    assert seen == [("abc", epoch) for epoch in (1, 2, 3, 4, 5)]
    assert len(gpus) == 1
    assert told[0] == ("preparing epoch 1/5: compiling the first step", 0)
    assert told[-1][0].startswith("5 of 5 epochs trained, the best is ")
    assert list(shown) == [1, 2, 4, 5]
    for images, masks, lungs in shown.values():
        assert images.shape == masks.shape == lungs.shape == (4, SIDE, SIDE)
        np.testing.assert_array_equal(images, shown[1][0])
        assert set(np.unique(masks)) == {0, 1}
    assert not np.array_equal(shown[1][2], shown[5][2])
