from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.checkpoint import Checkpoint, Position
from pipeline.model.epoch_log import EpochLog
from pipeline.model.pace import EpochSize
from pipeline.params import Params
from tests.model.test_pace import Watch
from tests.stages.test_train import with_train

SIZE = EpochSize(steps=100, validation_steps=20, batch=8)
ROW = {"epoch": 1, "loss": 0.5, "val_loss": 0.4, "val_dice": 0.9}


class Listener:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.epochs: list[Mapping[str, float]] = []
        self.progress: list[tuple[str, int, Mapping[str, float]]] = []

    def log_epoch(self, row: Mapping[str, float]) -> None:
        self.epochs.append(row)

    def log_progress(self, text: str, step: int, values: Mapping[str, float]) -> None:
        self.progress.append((text, step, values))

    def log_examples(self, epoch: int, images: Any, masks: Any, lungs: Any) -> None:
        """Not of an epoch's log."""


class Trained:
    """A training of 4 epochs whose clock is put forward by its batches."""

    def __init__(self, params: Params, position: Position | None = None) -> None:
        self.watch, self.listener = Watch(), Listener()
        found = Checkpoint([dict(ROW)], [np.zeros(1)], [], position) if position else None
        wanted = with_train(params, epochs=4).train
        self.log = EpochLog(wanted, SIZE, found, self.listener, self.watch)

    def train(self, *batches: int, seconds: float = 2.0) -> None:
        for batch in batches:
            self.watch.now += seconds
            self.log.trained(batch, {"loss": 0.25})

    def validate(self, *batches: int, seconds: float = 1.0) -> None:
        for batch in batches:
            self.watch.now += seconds
            self.log.validated(batch, {"loss": 0.3})

    def says(self) -> str:
        self.log.beat()
        return self.listener.progress[-1][0]


@pytest.fixture
def trained(params: Params) -> Trained:
    return Trained(params)


def test_before_the_first_step_it_says_that_it_compiles(trained: Trained) -> None:
    trained.log.begin()
    trained.watch.now += 75

    assert [text for text, _, _ in trained.listener.progress] == [
        "preparing epoch 1/4: compiling the first step"
    ]
    assert trained.says() == "preparing epoch 1/4: compiling the first step, 75 s so far"


def test_within_an_epoch_it_says_how_far_how_good_how_fast_and_how_long(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    trained.log.begin()
    trained.train(0, seconds=90)  # it was compiled
    trained.train(*range(1, 42))

    # 358 batches of 2 s to train and 80, which take a third, to validate.
    said = "epoch 1/4, 42 % trained: loss 0.2500, 4.0 images/s, 13 min left"
    assert trained.says() == said
    assert caplog.messages[-1] == said
    text, step, values = trained.listener.progress[-1]
    assert (text, step) == (said, 42)
    assert values == pytest.approx(
        {
            "loss": 0.25,
            "images_per_second": 4,
            "epochs": 0.42,
            "minutes_left": (358 * 2 + 80 * 2 / 3) / 60,
        }
    )


def test_while_it_validates_it_says_so_with_the_speed_of_that(trained: Trained) -> None:
    trained.log.begin()
    trained.train(*range(100))
    trained.validate(*range(10))

    said = "epoch 1/4, 100 % trained, 50 % validated: loss 0.2500, 8.0 images/s, 11 min left"
    assert trained.says() == said  # 300 of 2 s, 70 of 1 s


def test_at_the_end_of_an_epoch_it_says_what_the_whole_of_it_gave(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    trained.log.begin()
    trained.train(*range(100))
    trained.validate(*range(19))
    trained.watch.now += 1
    trained.log.end(ROW)

    assert caplog.messages[-1] == (
        "epoch 1/4: loss 0.5000, val_loss 0.4000, val_dice 0.9000, 3.6 images/s, 11 min left"
    )
    assert trained.listener.epochs == [{**ROW, "images_per_second": 800 / 220}]


def test_after_a_resume_the_rest_of_the_epoch_is_what_is_left(params: Params) -> None:
    resumed = Trained(params, Position(trained=60))
    resumed.log.begin()
    assert resumed.says() == "preparing epoch 2/4: compiling the first step"
    resumed.train(60, seconds=90)
    resumed.train(*range(61, 70))

    # 230 batches of 2 s to train and 60, which take a third, to validate.
    assert resumed.says() == "epoch 2/4, 70 % trained: loss 0.2500, 4.0 images/s, 8 min left"
    assert resumed.listener.progress[-1][1] == 170
    resumed.train(*range(70, 100))
    resumed.watch.now += 10
    resumed.log.end(ROW)
    assert resumed.listener.epochs == [{**ROW, "images_per_second": 40 * 8 / 178}]


def test_after_a_resume_within_the_validation_nothing_unknown_is_said(
    params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    resumed = Trained(params, Position(100, 5, {"loss": 0.5}))
    resumed.log.begin()
    resumed.validate(5, 6)

    said = "epoch 2/4, 100 % trained, 35 % validated: loss 0.5000, 8.0 images/s"
    assert resumed.says() == said
    assert resumed.listener.progress[-1][2] == {}
    resumed.log.end(ROW)
    assert caplog.messages[-1] == "epoch 2/4: loss 0.5000, val_loss 0.4000, val_dice 0.9000"
    assert resumed.listener.epochs == [ROW]
    resumed.log.begin()
    assert resumed.says().startswith("epoch 3/4, 0 % trained")


def test_when_no_epoch_follows_it_says_what_does(trained: Trained) -> None:
    trained.log.begin()
    trained.log.finish({**ROW, "epoch": 1})

    said = "1 of 4 epochs trained, the best is 1; writing and checking its network"
    assert trained.listener.progress[-1] == (said, 100, {})


@pytest.mark.parametrize("name", ["loss", "val_loss"])
def test_a_loss_that_is_no_number_ends_the_training_with_the_next_batch(
    trained: Trained, name: str
) -> None:
    trained.log.begin()
    watched = trained.log.trained if name == "loss" else trained.log.validated
    watched(3, {"loss": math.nan})

    with pytest.raises(StageError, match=rf"train: {name} is nan in epoch 1"):
        watched(4, {"loss": math.nan})


def test_so_it_does_with_the_last_batch_and_before_a_checkpoint(trained: Trained) -> None:
    trained.log.begin()
    with pytest.raises(StageError, match="train: loss is nan in epoch 1"):
        trained.log.trained(99, {"loss": math.nan})

    trained.log.trained(3, {"loss": math.nan})
    with pytest.raises(StageError, match="train: loss is nan in epoch 1"):
        trained.log.check()


class Computing:
    """A loss of which it is known whether it was waited for."""

    def __init__(self) -> None:
        self.awaited = False

    def __float__(self) -> float:
        self.awaited = True
        return 0.25


def test_a_batch_is_waited_for_when_the_device_has_the_next(trained: Trained) -> None:
    trained.log.begin()
    losses = [Computing() for _ in range(3)]
    for batch, loss in enumerate(losses):
        trained.log.trained(batch, {"loss": loss})
        assert not loss.awaited
    assert [loss.awaited for loss in losses] == [True, True, False]

    trained.log.validated(0, {"loss": Computing()})
    assert losses[2].awaited
