from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.uri import validate_path_is_safe
from mlflow.utils.validation import _validate_metric_name

from pipeline.dataset.layout import LONGEST_NAME
from pipeline.plain_names import plain_name

# What ends a name of a file or of a database's text is no character of a folder's name either.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=LONGEST_NAME)


def read_plain_name(name: str) -> str:
    """What a name that was not too long stands for."""
    return re.sub(
        r"\.([0-9A-F]+|empty)\.",
        lambda found: "" if found[1] == "empty" else chr(int(found[1], 16)),
        name,
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Viral Pneumonia", "Viral Pneumonia"),
        ("COVID (new)", "COVID .28.new.29."),
        ("Пневмония", "Пневмония"),
        ("100%#?", "100.25..23..3F."),
        ("..", ".2E..2E."),
        (".2E.", ".2E.2E.2E."),
        ("", ".empty."),
        (".empty.", ".2E.empty.2E."),
    ],
)
def test_letters_and_digits_stay_and_the_rest_is_written_as_code_points(
    text: str, name: str
) -> None:
    assert plain_name(text, 200) == name


@given(texts)
@example("Lunge/links: + = , & % '")
@example("COVID")
@example("肺炎")
def test_a_name_is_read_back_and_is_one_that_mlflow_and_an_address_take(text: str) -> None:
    name = plain_name(text, 20 * LONGEST_NAME)

    assert read_plain_name(name) == text
    _validate_metric_name(f"test/classes/{name}/dice")
    assert validate_path_is_safe(f"report/cases/{name}.jpg") == f"report/cases/{name}.jpg"


@given(texts, texts)
@example("д" * 100 + "a", "д" * 100 + "b")
@example("#" * 100, "#" * 99)
@example("x", "X")
def test_other_texts_get_other_names_however_long_they_are(one: str, other: str) -> None:
    names = {plain_name(text, 40) for text in (one, other)}

    assert len(names) == len({one, other})
    assert all(len(name.encode()) <= 40 for name in names)
    for name in names:
        _validate_metric_name(f"test/{name}")
