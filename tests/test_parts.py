from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ParamsError
from pipeline.parts import WHOLE, StagePart, all_parts, parts_in


@given(count=st.integers(0, 200), total=st.integers(1, 64))
def test_parts_are_what_there_is_in_order_and_about_equally_large(count: int, total: int) -> None:
    items = list(range(count))

    shares = [part.of(items) for part in all_parts(total)]

    assert [item for share in shares for item in share] == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(number=st.integers(1, 64), more=st.integers(0, 64))
def test_a_part_reads_as_it_is_written(number: int, more: int) -> None:
    part = StagePart(number, number + more)

    assert StagePart.parse(str(part)) == part


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "-1/4", "a/b", "1/2/3", "1.0/2", "1/"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="expected one like 2/4, the second of four"):
        StagePart.parse(text)


def test_parts_are_found_by_their_folders_and_there_are_none_without(tmp_path: Path) -> None:
    (tmp_path / "2-of-2").mkdir()
    (tmp_path / "1-of-3").mkdir()  # of another plan

    assert parts_in(None, 2) == [(WHOLE, None)]
    assert parts_in(tmp_path, 2) == [
        (StagePart(1, 2), None),
        (StagePart(2, 2), tmp_path / "2-of-2"),
    ]
