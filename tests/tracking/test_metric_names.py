from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from pipeline.tracking.metric_names import LONGEST, name_metrics


def test_a_number_is_named_by_the_path_of_keys_to_it() -> None:
    content = {
        "dice": 0.9,
        "cases": 3,
        "text": "x",
        "sizes": [{"groups": 1}],
        "classes": {"COVID": {"dice": 0.7, "p05": {"dice": 0.5}}, "Normal": 12},
        "left": {"dice": 0.8},
        "intervals": {"dice": [0.88, 0.92]},
    }

    assert name_metrics(content, "test/") == {
        "test/dice": 0.9,
        "test/cases": 3.0,
        "test/classes/COVID/dice": 0.7,
        "test/classes/COVID/p05/dice": 0.5,
        "test/classes/Normal": 12.0,
        "test/left/dice": 0.8,
        "test/intervals/dice.low": 0.88,
        "test/intervals/dice.high": 0.92,
    }


def test_numbers_that_are_not_finite_are_left_out() -> None:
    content = {"a": float("nan"), "b": float("inf"), "c": [0.1, float("nan")], "d": 1}

    assert name_metrics(content, "") == {"d": 1.0}


def test_a_class_keeps_its_name_as_far_as_mlflow_lets_it() -> None:
    names = ["Viral Pneumonia", "Lung_Opacity", "Пневмония", "Lunge/links?", "..", "a.b", ""]

    assert list(name_metrics(dict.fromkeys(names, 1), "c/")) == [
        "c/Viral Pneumonia",
        "c/Lung_Opacity",
        "c/Пневмония",
        "c/Lunge.2F.links.3F.",
        "c/.2E..2E.",
        "c/a.2E.b",
        "c/.empty.",
    ]


def test_of_a_class_with_a_long_name_it_is_still_said_what_was_measured() -> None:
    name = "д" * 90  # 180 bytes

    (found,) = name_metrics({"classes": {name: {"p95": {"hd95": 1}}}}, "test/")

    assert found.startswith(f"test/classes/{'д' * 60}")
    assert found.endswith("/p95/hd95")
    assert len(found.encode()) <= LONGEST


# What ends a name of a file or of a database's text is no character of a folder's name either.
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
numbers = st.floats(0, 1) | st.tuples(st.floats(0, 1), st.floats(0, 1))
contents = st.dictionaries(keys, numbers | st.dictionaries(keys, numbers, max_size=3), max_size=4)


@given(contents)
def test_every_number_has_a_name_of_its_own_that_mlflow_takes(content: dict[str, object]) -> None:
    leaves = [
        one
        for value in content.values()
        for one in (value.values() if isinstance(value, dict) else [value])
    ]

    named = name_metrics(content, "test/")

    assert len(named) == sum(2 if isinstance(one, tuple) else 1 for one in leaves)
    for name in named:
        _validate_metric_name(name)
        assert len(name) <= LONGEST
