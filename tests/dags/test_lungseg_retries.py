from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.dags.test_release_operators import Store


@pytest.fixture
def retries(operator_module: ModuleType) -> Any:
    import lungseg_retries

    return lungseg_retries


def decide(retries: Any, error: BaseException, *, store: Store, last: int = 12) -> Any:
    """The decision after a try that failed of `error`; `last` is the task's max_tries."""
    context = {"task_state_store": store}
    return retries.RetryByKind().evaluate(error, try_number=1, max_tries=last, context=context)


def waits(retries: Any, error: BaseException, store: Store) -> list[float]:
    """Seconds before each retry, until there is none."""
    found = []
    while (decision := decide(retries, error, store=store)).action.value == "retry":
        found.append(decision.retry_delay.total_seconds())
    assert "no retry is left" in decision.reason
    return found


def test_service_that_is_away_is_asked_for_half_an_hour_soon_at_first(retries: Any) -> None:
    found = waits(retries, retries.ServiceAwayError("MLflow is silent"), Store())

    assert found == [10, 20, 40, 80, 160, 300, 300, 300, 300, 300]
    assert sum(found[:3]) < 120  # an outage of a minute is over by the third


def test_child_that_died_is_tried_twice_also_after_a_service_was_away(retries: Any) -> None:
    store = Store()
    for _ in range(5):
        decide(retries, retries.ServiceAwayError("MLflow is silent"), store=store)

    assert waits(retries, retries.ChildDiedError("killed"), store) == [10, 20]
    assert waits(retries, KeyError("a defect"), Store()) == [10, 20]


def test_decision_says_kind_time_and_number_in_one_line(retries: Any) -> None:
    decision = decide(retries, retries.ServiceAwayError("x"), store=Store())

    assert decision.reason == "a service does not answer: tried again in 10 s, retry 1 of 10"


def test_cleared_task_has_all_its_retries_again(retries: Any) -> None:
    store = Store()
    waits(retries, retries.ChildDiedError("killed"), store)

    decision = decide(retries, retries.ChildDiedError("killed"), store=store, last=15)

    assert decision.action.value == "retry"


def test_task_that_took_longer_than_it_may_is_not_tried_again(retries: Any) -> None:
    from airflow.sdk.exceptions import AirflowTaskTimeout

    decision = decide(retries, AirflowTaskTimeout(), store=Store())

    assert decision.action.value == "fail"


def test_every_task_has_as_many_tries_as_the_kinds_ask_for(retries: Any) -> None:
    """More than a policy may give, Airflow does not allow."""
    assert retries.RETRIES["retries"] == 12
    assert retries.RETRIES["max_retry_delay"].total_seconds() == 300
