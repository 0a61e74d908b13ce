from __future__ import annotations

import pytest

from pipeline.dataset.metadata.convention_names import misspelt_names, unusable_name


@pytest.mark.parametrize("name", ["standard", "with-heart", "v2", "montgomery_2014"])
def test_a_plain_name_can_be_used(name: str) -> None:
    assert unusable_name(name) == ""


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("With heart", "; write with-heart"),
        ("мой", "; choose another name"),
        ("x" * 41, "; choose another name"),
        ("unknown", "; give the convention's own name"),
        ("n/a", "; give the convention's own name"),
        ("", "; give the convention's own name"),
    ],
)
def test_what_cannot_be_a_name_is_told_with_what_can(name: str, remedy: str) -> None:
    problem = unusable_name(name)

    assert problem.startswith(f"found {name!r}, ")
    assert "expected a" in problem
    assert problem.endswith(remedy)


@pytest.mark.parametrize(
    "slip",
    [
        *("Wide-Heart", "wide heart", "wide_heart", "wideheart"),
        *("wide-hart", "wide-heartt", "wide-haert", "wdie-heart", "wideheert"),
    ],
)
def test_a_rarer_name_that_is_nearly_another_is_a_slip_of_it(slip: str) -> None:
    assert misspelt_names({"wide-heart": 40, slip: 39, "standard": 3}) == {slip: "wide-heart"}


def test_a_word_of_six_letters_may_have_two_slips() -> None:
    assert misspelt_names({"narrow": 2, "narwo": 1}) == {"narwo": "narrow"}
    assert misspelt_names({"north": 2, "south": 1}) == {}


def test_standard_and_usable_names_are_never_the_slip() -> None:
    assert misspelt_names({"standart": 90, "standard": 1}) == {"standart": "standard"}
    assert misspelt_names({"Wide": 90, "wide": 1}) == {"Wide": "wide"}


@pytest.mark.parametrize(
    "names",
    [("v1", "v2"), ("reader-a", "reader-b"), ("protocol2019", "protocol2020"), ("cxr", "cxl")],
)
def test_names_that_are_numbered_or_very_short_are_different(names: tuple[str, str]) -> None:
    assert misspelt_names(dict.fromkeys(names, 5)) == {}


def test_names_that_differ_in_a_whole_word_are_different() -> None:
    names = ("with-heart", "without-heart", "standard", "west", "east")

    assert misspelt_names(dict.fromkeys(names, 5)) == {}


@pytest.mark.parametrize(
    "names",
    [
        *(
            ("heart-included", "heart-excluded"),
            ("inclusive", "exclusive"),
            ("internal", "external"),
        ),
        *(("heart", "heart-in"), ("lungs", "lungs-only"), ("medial", "radial")),
    ],
)
def test_opposites_and_names_with_a_word_more_are_different(names: tuple[str, str]) -> None:
    assert misspelt_names(dict.fromkeys(names, 5)) == {}
