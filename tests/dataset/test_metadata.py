from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import Workbook

from pipeline.dataset.metadata import merge_sheets, read_sheet
from pipeline.errors import DatasetError
from pipeline.files import sha256_file
from tests.dataset.delivery.deliveries import write_sheet


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_sheet(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_empty_rows_and_columns_are_no_content(tmp_path: Path) -> None:
    sheet = tmp_path / "a.xlsx"
    write_sheet(sheet, (None, "FILE NAME ", None, "AGE"), (None, "A-1", None, 40), (None,) * 4)

    assert read_sheet(sheet) == {"A-1": {"FILE NAME": "A-1", "AGE": 40}}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "columns are missing"),
        ([("NAME", "AGE"), ("A-1", 4)], "columns are NAME, AGE; expected 'FILE NAME'"),
        ([("FILE NAME", "AGE", "AGE"), ("A-1", 4, 5)], "each named once"),
        ([("FILE NAME", "AGE"), (None, 4)], "a row has no 'FILE NAME'"),
        ([("FILE NAME", "AGE"), ("A-1", 4), ("A-1", 5)], "A-1: AGE is 5, another row says 4"),
    ],
)
def test_sheets_that_cannot_be_understood_are_refused(
    tmp_path: Path, lines: list[tuple[object, ...]], said: str
) -> None:
    write_sheet(tmp_path / "a.xlsx", *lines)

    assert said in refusal(tmp_path / "a.xlsx")


def test_a_workbook_of_several_sheets_is_refused(tmp_path: Path) -> None:
    workbook = Workbook()
    workbook.create_sheet("more")
    workbook.save(tmp_path / "a.xlsx")

    assert "has 2 sheets, expected one" in refusal(tmp_path / "a.xlsx")


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04cut"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)

    assert "not readable as .xlsx" in refusal(tmp_path / "a.xlsx")


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "AGE"), ("A-1", 40))
    write_sheet(delivered, ("FILE NAME", "SEX"), ("A-1", "F"), ("A-2", "M"))

    assert merge_sheets(former, delivered, tmp_path / "one.xlsx")
    assert merge_sheets(former, delivered, tmp_path / "two.xlsx")

    assert sha256_file(tmp_path / "one.xlsx") == sha256_file(tmp_path / "two.xlsx")
    assert read_sheet(tmp_path / "one.xlsx") == {
        "A-1": {"FILE NAME": "A-1", "AGE": 40, "SEX": "F"},
        "A-2": {"FILE NAME": "A-2", "SEX": "M"},
    }


def test_a_delivery_without_news_leaves_the_sheet_alone(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "AGE"), ("A-1", 40), ("A-2", 50))
    write_sheet(delivered, ("FILE NAME", "AGE"), ("A-2", "50"))

    assert not merge_sheets(former, delivered, tmp_path / "merged.xlsx")
    assert not (tmp_path / "merged.xlsx").exists()
