from __future__ import annotations

import threading

import pytest

from pipeline.model.heartbeat import heartbeat


def test_it_beats_while_the_work_says_nothing_and_not_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.model.heartbeat.EVERY_S", 0.001)
    beats = 0
    enough = threading.Event()

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            enough.set()

    with heartbeat(beat):
        assert enough.wait(60)
    ended = beats

    assert not [one for one in threading.enumerate() if one.name == "heartbeat"]
    assert beats == ended


def test_it_ends_with_a_work_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), heartbeat(lambda: None):
        raise ZeroDivisionError

    assert not [one for one in threading.enumerate() if one.name == "heartbeat"]
