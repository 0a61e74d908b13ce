from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    read_convention_rows,
    recorded_conventions,
    write_recorded,
)
from pipeline.errors import DatasetError
from tests.dataset.delivery.deliveries import add_text
from tests.manifests import digest

HEADER = "name,mask_sha256,convention,by\n"
GOOD = f"A-1,{digest(1)},wide,person\n"


def row(name: str, convention: str = "wide", by: str = "person") -> ConventionRow:
    return ConventionRow(name, digest(name), convention, by)


def test_what_is_written_is_read_again_and_written_once(tmp_path: Path) -> None:
    recorded = {"B, c/x": row("x", by="import"), "A/A-1": row("A-1"), "A/A-2": row("A-2", "narrow")}

    assert write_recorded(tmp_path, recorded)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "A.conventions.csv",
        "B, c.conventions.csv",
    ]
    assert (tmp_path / "A.conventions.csv").read_text().startswith(f"{HEADER}A-1,{digest('A-1')}")
    assert recorded_conventions(tmp_path) == recorded
    assert not write_recorded(tmp_path, recorded)


def test_a_file_without_rows_is_removed_and_a_link_is_not_written_through(tmp_path: Path) -> None:
    write_recorded(tmp_path, {"A/A-1": row("A-1"), "B/B-1": row("B-1")})
    (tmp_path / "kept").hardlink_to(tmp_path / "A.conventions.csv")
    before = (tmp_path / "kept").read_bytes()

    assert write_recorded(tmp_path, {"A/A-1": row("A-1", "narrow")})

    assert not (tmp_path / "B.conventions.csv").exists()
    assert (tmp_path / "kept").read_bytes() == before


def test_there_is_nothing_recorded_without_a_folder(tmp_path: Path) -> None:
    assert recorded_conventions(tmp_path / "data") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns are missing"),
        ("name;mask_sha256\n", "columns are name;mask_sha256"),
        (f"{HEADER}A-1,wide\n", "line 2 has 2 cells"),
        (f"{HEADER}{GOOD}A-2,abc,wide,person\n", "line 3 is A-2,abc,wide,person"),
        (f"{HEADER}A-1,{digest(1)},wide,me\n", "line 2 is A-1"),
        (f"{HEADER},{digest(1)},wide,import\n", "line 2 is ,"),
        (f'{HEADER}"A-1,{digest(1)}', "unexpected end of data"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = add_text(tmp_path / "A.conventions.csv", text)

    with pytest.raises(DatasetError) as refusal:
        read_convention_rows(path)

    assert str(refusal.value).startswith(f"{path}: {said}")
    assert "expected lines of name, mask_sha256, convention, by" in str(refusal.value)
    assert str(refusal.value).endswith("`lungseg data convention`, then `dvc add data`")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "A.conventions.csv").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DatasetError, match="can't decode"):
        recorded_conventions(tmp_path)


def test_a_pair_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = add_text(tmp_path / "A.conventions.csv", HEADER + GOOD + GOOD)

    with pytest.raises(DatasetError, match="names A-1 twice, expected each pair once; remove one"):
        read_convention_rows(path)
    assert write_recorded(tmp_path, {"A/A-1": row("A-1")})


def test_a_class_with_too_long_a_name_for_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a name of 206 bytes, expected at most 200; shorten"):
        write_recorded(tmp_path, {f"{'a' * 190}/b": row("b")})
