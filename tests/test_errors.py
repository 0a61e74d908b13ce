from __future__ import annotations

import copy
import inspect

import pytest

from pipeline import errors
from pipeline.errors import (
    CrashedError,
    LungsegError,
    OvertakenError,
    ServiceError,
    UnreadableError,
)

TREE = [
    kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)
]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_one_a_person_can_mend(kind: type[Exception]) -> None:
    assert issubclass(kind, LungsegError)
    assert kind.__doc__
    assert kind.__name__ in str(errors.__doc__)


def test_exit_codes_tell_what_is_worth_a_retry() -> None:
    codes = {kind.__name__: getattr(kind, "exit_code", 0) for kind in TREE}

    assert codes.pop("OvertakenError") == OvertakenError.exit_code == 75
    assert codes.pop("ServiceError") == ServiceError.exit_code == 75
    assert codes.pop("CrashedError") == CrashedError.exit_code == 70
    assert set(codes.values()) == {1}


def test_an_unreadable_file_carries_its_reason() -> None:
    error = UnreadableError("truncated", "a.png: cannot be decoded")

    assert (error.reason, str(error)) == ("truncated", "a.png: cannot be decoded")


@pytest.mark.parametrize("kind", TREE)
def test_the_error_of_a_worker_reaches_the_process_that_waits_for_it(kind: type[Exception]) -> None:
    error = kind(*["truncated", "a.png: cut off"][kind is not UnreadableError :])

    crossed = copy.copy(error)  # made anew as pickle does it

    assert (type(crossed), str(crossed)) == (kind, "a.png: cut off")
    assert vars(crossed) == vars(error)
