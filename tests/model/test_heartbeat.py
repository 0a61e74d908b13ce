from __future__ import annotations

import threading

import pytest

from pipeline.model.heartbeat import heartbeat


def test_it_beats_while_the_work_says_nothing_and_not_afterwards() -> None:
    beats = 0
    enough = threading.Event()

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            enough.set()

    with heartbeat(beat, every_s=0.001):
        assert enough.wait(60)
    ended = beats

    assert not [one for one in threading.enumerate() if one.name == "heartbeat"]
    assert beats == ended


def test_it_ends_with_a_work_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), heartbeat(lambda: None, every_s=60):
        raise ZeroDivisionError

    assert not [one for one in threading.enumerate() if one.name == "heartbeat"]
