from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

EVENT = {"record": 7, "version": "3", "run_id": "abc", "metrics": {"dice": 0.95, "accuracy": 0.98}}


@pytest.fixture(scope="module")
def consumer(operator_module: ModuleType) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import example_consumer
    yield example_consumer
    sys.modules.pop("example_consumer", None)


def verify(consumer: Any) -> Any:
    events = {consumer.MODEL: [SimpleNamespace(extra=EVENT)]}
    return consumer.dag.task_dict["verify"].python_callable(triggering_asset_events=events)


def test_each_release_is_verified_and_named(
    consumer: Any,
    lungseg: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    lungseg(f"echo $* > {tmp_path}/called")

    with caplog.at_level("INFO"):
        assert verify(consumer) == [EVENT]

    assert (tmp_path / "called").read_text() == "releases verify\n"
    assert "released: version 3, accuracy 0.9800, dice 0.9500" in caplog.text


def test_registry_that_was_changed_fails(consumer: Any, lungseg: Callable[[str], None]) -> None:
    lungseg("echo the alias was removed; exit 1")

    with pytest.raises(Exception, match="differs from the signed log") as caught:
        verify(consumer)

    assert type(caught.value).__name__ == "AirflowFailException"


def test_example_runs_for_releases_alone_and_is_paused_at_first(consumer: Any) -> None:
    [asset] = consumer.dag.timetable.asset_condition.objects

    assert asset.uri == "mlflow://models/lung-segmentation"
    assert consumer.dag.is_paused_upon_creation is True
