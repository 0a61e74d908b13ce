from __future__ import annotations

import pytest

from pipeline.conventions import in_order, name_problem


@pytest.mark.parametrize("name", ["standard", "heart_in", "v7", "2024-darwin", "a" * 40])
def test_a_plain_name_is_a_conventions(name: str) -> None:
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    "name", ["", "Standard", "heart in", "-x", "herz/ä", "a" * 41, "standard\n"]
)
def test_any_other_name_is_told_what_is_expected(name: str) -> None:
    assert f"found {name!r}, expected a convention's name of lower-case letters" in name_problem(
        name
    )


def test_standard_comes_first_and_each_once() -> None:
    assert in_order(["v7", "b", "standard", "v7"]) == ["standard", "b", "v7"]
    assert in_order(["v7", "b"]) == ["b", "v7"]
