from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.checkpoint import (
    MAX_AGE_S,
    Checkpoint,
    Checkpoints,
    Position,
    checkpoint_key,
    hold_checkpoints,
)
from tests.conftest import small_disk


def after(epoch: int) -> Checkpoint:
    """A checkpoint of arrays as a network and its optimizer have them."""
    history = [{"epoch": n, "val_loss": 1 / 3 / n} for n in range(1, epoch + 1)]
    state = [np.full((3, 2), epoch, np.float32), np.int64(8 * epoch), np.arange(2, dtype=np.uint32)]
    return Checkpoint(history, [np.asarray(array) for array in state], [np.zeros(4, np.float32)])


def saved(folder: Path, *epochs: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for epoch in epochs:
        checkpoints.save(after(epoch))
    return checkpoints


def found(checkpoints: Checkpoints) -> int | None:
    latest = checkpoints.latest()
    return latest.epoch if latest else None


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path: Path) -> None:
    latest = saved(tmp_path, 3).latest()

    assert latest
    assert latest.history == after(3).history
    for stored, given in ((latest.state, after(3).state), (latest.best, after(3).best)):
        assert [(a.dtype, a.shape, a.tobytes()) for a in stored] == [
            (a.dtype, a.shape, a.tobytes()) for a in given
        ]


WITHIN = Position(4, 1, {"loss": 1 / 3}, [float(np.float32(0.1)), 5.0])


def test_so_does_its_position_within_an_epoch(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(replace(after(3), position=WITHIN))

    latest = Checkpoints(tmp_path).latest()

    assert latest
    assert (latest.epoch, latest.position) == (3, WITHIN)


def test_those_within_an_epoch_come_after_the_epoch_before_and_before_its_end(
    tmp_path: Path,
) -> None:
    places = [(3, Position()), (3, Position(9)), (3, Position(120)), (3, Position(120, 7))]
    names = [replace(after(epoch), position=one).name for epoch, one in [*places, (4, Position())]]

    assert names == sorted(names) == [path.name for path in sorted(map(tmp_path.joinpath, names))]
    assert len(set(names)) == 5


def test_one_is_due_when_the_last_one_is_so_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("pipeline.model.checkpoint.time.monotonic", lambda: now)
    checkpoints = Checkpoints(tmp_path, every_s=240)

    due = []
    for seconds in (239, 1, 1):
        now += seconds
        due.append(checkpoints.due)
    checkpoints.save(after(1))

    assert due == [False, True, True]
    assert not checkpoints.due
    assert Checkpoints(tmp_path, every_s=0).due


def test_many_arrays_keep_their_order(tmp_path: Path) -> None:
    state = [np.array(i) for i in range(12)]
    Checkpoints(tmp_path).save(Checkpoint([{"epoch": 1}], state, state[::-1]))

    latest = Checkpoints(tmp_path).latest()

    assert latest
    assert [int(array) for array in latest.state] == list(range(12))
    assert [int(array) for array in latest.best] == list(range(11, -1, -1))


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3, 4)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004"]
    assert found(checkpoints) == 4


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent").latest() is None


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip_a_bit,
    "cut short": lambda folder: os.truncate(folder / "arrays.npz", 100),
    "another history": lambda folder: (folder / "history.json").write_text("[]"),
    "no arrays": lambda folder: (folder / "arrays.npz").unlink(),
    "no sums": lambda folder: (folder / "SHA256SUMS").unlink(),
    "sums that are no text": lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_from_a_damaged_checkpoint_training_goes_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    DAMAGES[damage](tmp_path / "epoch-0002")

    assert found(checkpoints) == 1
    (warning,) = caplog.messages
    assert warning.endswith("epoch-0002: damaged, so the training resumes after the one before")


def test_damaged_checkpoints_do_not_count_among_the_last(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 4, 5)
    for epoch in (4, 5):
        flip_a_bit(tmp_path / f"epoch-000{epoch}")

    assert found(checkpoints) is None
    assert found(saved(tmp_path, 1)) == 1


def test_what_a_killed_process_left_half_written_is_not_found(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    shutil.copytree(tmp_path / "epoch-0001", tmp_path / ".epoch-0002.partial")

    assert found(checkpoints) == 1
    checkpoints.save(after(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001", "epoch-0003"]
    checkpoints.clear()
    assert not tmp_path.exists()


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with small_disk(tmp_path, "256k") as small:
        checkpoints = saved(small, 1)
        large = Checkpoint(after(2).history, [np.zeros(100_000)], [])
        with pytest.raises(StageError, match=r"epoch-0002: .* \(No space left .*\); make room"):
            checkpoints.save(large)

        assert sorted(path.name for path in small.iterdir()) == ["epoch-0001"]
        assert found(checkpoints) == 1


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StageError, match=r"epoch-0001: .* \(Not a directory\).*LUNGSEG_HOME"):
        saved(tmp_path / "file", 1)


def test_the_key_changes_with_every_byte_and_fact(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abd")
    key = checkpoint_key({"a": tmp_path / "a"}, {"seed": 1})

    assert checkpoint_key({"a": tmp_path / "a"}, {"seed": 1}) == key
    others = [
        checkpoint_key({"a": tmp_path / "b"}, {"seed": 1}),
        checkpoint_key({"b": tmp_path / "a"}, {"seed": 1}),
        checkpoint_key({"a": tmp_path / "a"}, {"seed": 2}),
        checkpoint_key({}, {"seed": 1}),
    ]
    assert len({key, *others}) == 5


HOLD = """
import sys, time
from pathlib import Path
from pipeline.model.checkpoint import hold_checkpoints
with hold_checkpoints(Path(sys.argv[1]), "key"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_training_waits_until_the_first_lets_go_or_dies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        entered = threading.Event()

        def second() -> None:
            with hold_checkpoints(tmp_path, "key"):
                entered.set()

        waiting = threading.Thread(target=second)
        waiting.start()
        deadline = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not entered.is_set()
        first.kill()
    waiting.join(timeout=60)

    assert entered.is_set()
    (line,) = caplog.messages
    assert line.startswith(f"waiting for process {first.pid} on ")
    assert f"in {Path.cwd()}, which trains the same (" in line


def test_trainings_of_different_keys_do_not_wait(tmp_path: Path) -> None:
    with hold_checkpoints(tmp_path, "a") as a, hold_checkpoints(tmp_path, "b") as b:
        assert a.folder != b.folder


def test_those_that_another_process_removes_meanwhile_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda folder, _: iter([folder / "gone.lock"]))

    with hold_checkpoints(tmp_path, "mine") as mine:
        assert mine.folder.exists()


def test_old_checkpoints_of_others_are_removed_and_young_or_held_ones_kept(tmp_path: Path) -> None:
    long_ago = time.time() - MAX_AGE_S - 60

    def age(key: str) -> None:
        for path in (tmp_path / key, tmp_path / f"{key}.lock"):
            os.utime(path, (long_ago, long_ago))

    for key in ("old", "young", "mine"):
        with hold_checkpoints(tmp_path, key) as checkpoints:
            checkpoints.save(after(1))
    with hold_checkpoints(tmp_path, "held") as checkpoints:
        checkpoints.save(after(1))
        for key in ("old", "held", "mine"):
            age(key)
        with hold_checkpoints(tmp_path, "mine") as mine:
            assert found(mine) == 1

    kept = {"young", "held", "mine"}
    assert {path.name for path in tmp_path.iterdir()} == {
        *kept,
        *(f"{key}.lock" for key in kept),
    }
