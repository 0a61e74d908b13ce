from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ServiceError, WorkspaceError
from pipeline.model.checkpoint import (
    Checkpoints,
    Position,
    clear_checkpoints,
    hold_checkpoints,
)
from pipeline.remote_store import RemoteStore, StoredFile
from tests.model.test_checkpoint import after


class FolderStore(RemoteStore):
    """A store that is a folder, and may be away or slow."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away, self.url = folder, False, str(folder)
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def _answer(self) -> None:
        assert self.gate.wait(10)
        if self.away:
            raise ServiceError(f"{self.url}: the store does not answer; it is tried again")

    def list(self, prefix: str) -> list[StoredFile]:
        self._answer()
        found = (path for path in (self.folder / prefix).rglob("*") if path.is_file())
        files = sorted(found, key=str)  # as a store sorts, in which a-1/x is before a/x
        return [StoredFile(str(path.relative_to(self.folder)), 1, 0.0) for path in files]

    def put(self, file: Path, path: str) -> None:
        self.asked.set()
        self._answer()
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, target)
        except FileNotFoundError as error:
            raise WorkspaceError(f"{self.url}: the store refuses: {error}") from None

    def get(self, path: str, file: Path) -> None:
        self._answer()
        shutil.copyfile(self.folder / path, file)

    def remove(self, path: str) -> None:
        self._answer()
        (self.folder / path).unlink(missing_ok=True)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def epochs_in(store: FolderStore) -> list[str]:
    return sorted({Path(file.path).parent.name for file in store.list("checkpoints/key")})


def train(home: Path, store: FolderStore, *epochs: int) -> None:
    with hold_checkpoints(home, "key", store) as checkpoints:
        for epoch in epochs:
            checkpoints.save(after(epoch))


def resumed_at(home: Path, store: FolderStore) -> int:
    with hold_checkpoints(home, "key", store) as checkpoints:
        latest = checkpoints.latest()
        return latest.epoch if latest else 0


def test_another_host_resumes_where_a_killed_training_was(
    tmp_path: Path, store: FolderStore
) -> None:
    train(tmp_path / "one", store, 1, 2, 3)

    with hold_checkpoints(tmp_path / "two", "key", store) as checkpoints:
        latest = checkpoints.latest()

    assert latest
    assert latest.history == after(3).history
    assert [a.tobytes() for a in latest.state] == [a.tobytes() for a in after(3).state]
    assert len(epochs_in(store)) <= 2
    assert epochs_in(store)[-1] == "epoch-0003"


def test_within_an_epoch_the_newest_travels_and_old_ones_go(
    tmp_path: Path, store: FolderStore
) -> None:
    for position in (Position(), Position(9), Position(120), Position(120, 7)):
        with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
            checkpoints.save(replace(after(3), position=position))

    with hold_checkpoints(tmp_path / "two", "key", store) as checkpoints:
        latest = checkpoints.latest()

    assert latest
    assert (latest.epoch, latest.position) == (3, Position(120, 7))
    assert epochs_in(store) == ["epoch-0003-0000120", "epoch-0003-0000127"]


def test_one_that_is_still_being_sent_is_not_removed(tmp_path: Path, store: FolderStore) -> None:
    with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
        store.gate.clear()
        checkpoints.save(after(1))
        assert store.asked.wait(10)
        for epoch in (2, 3, 4):
            checkpoints.save(after(epoch))
        here = sorted(path.name for path in checkpoints.folder.glob("epoch-*"))
        store.gate.set()

    assert here == ["epoch-0001", "epoch-0003", "epoch-0004"]
    assert epochs_in(store) == ["epoch-0001", "epoch-0004"]


def test_a_host_that_is_further_keeps_its_own(tmp_path: Path, store: FolderStore) -> None:
    train(tmp_path / "one", store, 1)
    here = Checkpoints(tmp_path / "two/key")
    here.save(after(4))

    assert resumed_at(tmp_path / "two", store) == 4
    assert not (tmp_path / "two/key/epoch-0001").exists()


def test_what_was_only_half_sent_is_not_there(tmp_path: Path, store: FolderStore) -> None:
    train(tmp_path / "one", store, 1)
    train(tmp_path / "one", store, 2)
    (store.folder / "checkpoints/key/epoch-0002/SHA256SUMS").unlink()

    assert resumed_at(tmp_path / "two", store) == 1


def test_from_damaged_ones_the_training_goes_back_to_the_one_before(
    tmp_path: Path, store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "one", store, 1)
    train(tmp_path / "one", store, 2)
    (store.folder / "checkpoints/key/epoch-0002/arrays.npz").write_bytes(b"of another host")

    assert resumed_at(tmp_path / "two", store) == 1
    assert "epoch-0002: damaged" in caplog.text


def test_what_a_host_that_still_trains_removes_meanwhile_is_passed_over(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "one", store, 1)
    train(tmp_path / "one", store, 2)
    fetched = []
    original = store.get_folder

    def get_folder(path: str, names: Iterable[str], folder: Path) -> None:
        fetched.append(folder.name)
        if folder.name == "epoch-0002":
            raise WorkspaceError(f"{store.url}: the store refuses: there is no {path}")
        original(path, names, folder)

    assert resumed_at(tmp_path / "two", store) == 2
    monkeypatch.setattr(store, "get_folder", get_folder)
    assert resumed_at(tmp_path / "three", store) == 1
    assert fetched == ["epoch-0002", "epoch-0001"]


def test_of_several_only_the_last_is_fetched(tmp_path: Path, store: FolderStore) -> None:
    train(tmp_path / "one", store, 1)
    train(tmp_path / "one", store, 2)

    resumed_at(tmp_path / "two", store)

    assert [path.name for path in (tmp_path / "two/key").glob("epoch-*")] == ["epoch-0002"]


def test_those_of_a_finished_training_go_here_and_in_the_store_but_not_under_anybodys_hands(
    tmp_path: Path, store: FolderStore
) -> None:
    train(tmp_path, store, 1)

    with hold_checkpoints(tmp_path, "key", store):
        clear_checkpoints(tmp_path, "key", store)
    assert epochs_in(store) == ["epoch-0001"]
    assert (tmp_path / "key/epoch-0001").exists()

    for _ in range(2):  # of two runs, the second finds nothing left
        clear_checkpoints(tmp_path, "key", store)
        assert epochs_in(store) == []
        assert not (tmp_path / "key").exists()


def test_a_finished_training_leaves_nothing_in_the_store(
    tmp_path: Path, store: FolderStore
) -> None:
    with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
        checkpoints.save(after(1))
        checkpoints.clear()

    assert store.list("checkpoints") == []


def test_a_slow_store_holds_nobody_up_and_gets_the_newest(
    tmp_path: Path, store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
        store.gate.clear()
        for epoch in range(1, 6):
            checkpoints.save(after(epoch))
        store.gate.set()

    assert epochs_in(store)[-1] == "epoch-0005"
    assert "on this host alone" not in caplog.text
    assert resumed_at(tmp_path / "two", store) == 5


def test_a_store_that_is_away_costs_one_warning_and_is_used_again_when_it_is_back(
    tmp_path: Path, store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store.away = True
    with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
        for epoch in (1, 2, 3):
            checkpoints.save(after(epoch))
    warnings = caplog.text.count("the store does not answer")
    store.away = False
    train(tmp_path / "one", store, 4)

    assert warnings == 1
    assert resumed_at(tmp_path / "two", store) == 4


def test_checkpoints_that_cannot_be_removed_are_said_to_stay(
    tmp_path: Path, store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    with hold_checkpoints(tmp_path / "one", "key", store) as checkpoints:
        checkpoints.save(after(1))
        checkpoints._courier.end()  # type: ignore[union-attr]
        store.away = True
        checkpoints.clear()

    assert "the checkpoints of a finished training stay in the store" in caplog.text
    assert not (tmp_path / "one/key").exists()
