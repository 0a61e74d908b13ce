from __future__ import annotations

import pytest

from pipeline.dataset.metadata.file_names import file_key, match_names, refuse_rivals
from pipeline.errors import DatasetError


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("NORMAL-1", "Normal-1"),
        ("normal-1.PNG", "Normal-1"),
        (" Normal-1 ", "Normal-1"),
        ("Normal/images/Normal-1.png", "Normal-1"),
        ("C:\\export\\Normal-1.dcm", "Normal-1"),
        ("Normal-1.jpeg", "Normal-1"),
        ("e\u0301-1", "\u00e9-1"),
        ("Normal (1)", "0001"),
        ("1", "0001"),
        ("1.png", "Normal_0001"),
        ("Normal-0001", "Normal (1)"),
        ("normal 1", "NORMAL-1"),
    ],
)
def test_a_name_finds_its_file(name: str, file: str) -> None:
    assert match_names([name, "other"], ["another-7", file], "Normal") == {name: file}


@pytest.mark.parametrize(
    ("name", "file"), [("1-2", "12"), ("COVID-1", "1"), ("Normal-1b", "1"), ("10", "1"), ("-", "1")]
)
def test_another_name_finds_nothing(name: str, file: str) -> None:
    assert match_names([name], [file], "Normal") == {}


def test_the_very_name_counts_more_than_its_numbers() -> None:
    files = ["0001", "Normal-1", "1"]

    assert match_names(["1", "0001", "normal-1"], files, "Normal") == {
        "1": "1",
        "0001": "0001",
        "normal-1": "Normal-1",
    }
    assert match_names(["01", "1"], ["1"], "Normal") == {"1": "1"}


@pytest.mark.parametrize(
    ("names", "files"), [(["1"], ["0001", "Normal-1"]), (["1", "Normal (1)"], ["0001"])]
)
def test_a_name_that_stays_ambiguous_is_refused(names: list[str], files: list[str]) -> None:
    with pytest.raises(DatasetError, match=r"1.* may mean .*0001.*; write the names of the files"):
        match_names(names, files, "Normal")


@pytest.mark.parametrize("named", [["1"], ["Normal (1)"]])
def test_a_file_without_a_name_beside_one_that_differs_by_no_more_is_refused(
    named: list[str],
) -> None:
    files = ["0001", "0002", named[0]]
    matched = match_names(named, files, "Normal")

    with pytest.raises(DatasetError) as caught:
        refuse_rivals(matched, files, "Normal")

    assert str(caught.value) == (
        f"{named[0]} may mean {named[0]} or 0001, which has no row; add a row for it, or rename "
        "one of them"
    )
    refuse_rivals(match_names([*named, "01"], files, "Normal"), files, "Normal")


@pytest.mark.parametrize("files", [["IMG-7", "img-7"], ["img-7", "img-7.dcm"]])
@pytest.mark.parametrize("name", ["IMG-7", "img-7.png"])
def test_a_name_of_two_files_that_differ_by_what_does_not_count_is_refused(
    name: str, files: list[str]
) -> None:
    with pytest.raises(DatasetError) as caught:
        match_names([name], files, "Normal")

    assert str(caught.value) == (
        f"{name} may mean {' or '.join(files)}, as case and suffixes do not count; "
        "rename one of them"
    )
    assert match_names(["other"], [*files, "Other"], "Normal") == {"other": "Other"}


def test_a_name_that_is_all_suffix_stays() -> None:
    assert file_key(".png") == ".png"
