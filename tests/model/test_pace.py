from __future__ import annotations

import pytest

from pipeline.model.pace import RECENT, VALIDATION_SHARE, Pace, seconds_left, spoken_time


class Watch:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pace(*seconds: float) -> Pace:
    """Of batches that took so long."""
    watch = Watch()
    found = Pace(watch)
    found.begin()
    for took in seconds:
        watch.now += took
        found.end()
    return found


def test_the_first_batch_which_was_compiled_counts_only_while_it_is_alone() -> None:
    assert pace().seconds is None
    assert pace(60).seconds == 60
    assert pace(60, 2).seconds == pytest.approx(2)
    assert pace(60, 2, 4).seconds == pytest.approx(3)


def test_a_machine_that_gets_slower_is_noticed() -> None:
    slower = pace(*[1.0] * 5 * RECENT, *[10.0] * 5 * RECENT).seconds

    assert slower == pytest.approx(10, rel=0.1)


def test_a_pause_between_two_passes_is_no_time_of_a_batch() -> None:
    watch = Watch()
    found = Pace(watch)
    for _ in range(3):
        watch.now += 1000
        found.begin()
        watch.now += 2
        found.end()

    assert found.seconds == pytest.approx(2)


def test_the_time_left_takes_in_the_validation() -> None:
    assert seconds_left(pace(9, 2), pace(9, 1), (10, 5)) == pytest.approx(25)


def test_before_the_first_validation_its_time_is_a_share_of_that_of_training() -> None:
    assert seconds_left(pace(3, 3), pace(), (10, 5)) == pytest.approx(30 + 15 * VALIDATION_SHARE)


def test_before_the_first_batch_there_is_no_telling() -> None:
    assert seconds_left(pace(), pace(1), (10, 5)) is None


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (95, "2 min"),
        (38 * 60, "38 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: float, spoken: str) -> None:
    assert spoken_time(seconds) == spoken
