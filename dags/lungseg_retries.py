"""When a task that failed is tried again: by what it failed of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout


@dataclass(frozen=True)
class Kind:
    """A kind of failure: how often it is tried again, after how many seconds at first and at most.

    Each wait is twice the one before.
    """

    text: str
    retries: int
    first: int
    longest: int

    def wait(self, number: int) -> timedelta:
        """How long the retry of this number, from 1, waits."""
        return timedelta(seconds=min(self.first * 2 ** (number - 1), self.longest))


AWAY = Kind("a service does not answer", retries=10, first=10, longest=300)
"""Half an hour in all."""
DIED = Kind("the process of the task died", retries=2, first=10, longest=60)


class ServiceAwayError(AirflowException):  # type: ignore[misc]  # Airflow is read without its types
    """The child found no answer of a service or a store."""


class ChildDiedError(AirflowException):  # type: ignore[misc]
    """The child was killed, had no memory, or has a defect."""


class RetryByKind(RetryPolicy):  # type: ignore[misc]
    """Try again as often and as late as the kind of failure asks for.

    A worker that is lost with its task cannot ask: Airflow then goes by RETRIES alone.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> Any:
        """The decision, with a line for the task's log."""
        if isinstance(exception, AirflowTaskTimeout):
            return RetryDecision.fail("it took longer than it may: not tried again")
        kind = AWAY if isinstance(exception, ServiceAwayError) else DIED
        number = count(kind, max_tries, context)
        if number > kind.retries or try_number > max_tries:
            return RetryDecision.fail(f"{kind.text}, and no retry is left")
        wait = kind.wait(number)
        seconds = f"{wait.total_seconds():.0f} s"
        line = f"{kind.text}: tried again in {seconds}, retry {number} of {kind.retries}"
        return RetryDecision.retry(wait, line)


def count(kind: Kind, max_tries: int, context: Any) -> int:
    """How often the task has failed of this kind, now included, since a person last cleared it."""
    store = context["task_state_store"]
    kept = store.get("failures") or {}
    # Clearing a task raises its max_tries, and keeps what is stored.
    failures = kept if kept.get("max_tries") == max_tries else {"max_tries": max_tries}
    failures[kind.text] = failures.get(kind.text, 0) + 1
    store.set("failures", failures)
    return int(failures[kind.text])


RETRIES: dict[str, Any] = {
    "retries": AWAY.retries + DIED.retries,
    "retry_delay": timedelta(seconds=AWAY.first),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(seconds=AWAY.longest),
    "retry_policy": RetryByKind(),
}
"""Of every task."""
