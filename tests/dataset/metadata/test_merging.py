from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.metadata.merging import merge_sheets
from pipeline.dataset.metadata.sheet import read_sheet
from pipeline.errors import DatasetError
from pipeline.files import sha256_file
from tests.dataset.delivery.deliveries import add_text, write_sheet


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "AGE"), ("A-1", 40))
    write_sheet(delivered, ("FILE NAME", "SEX"), ("A-1", "F"), ("A-2", "M"))

    assert merge_sheets(former, delivered, tmp_path / "one.xlsx")
    assert merge_sheets(former, delivered, tmp_path / "two.xlsx")

    assert sha256_file(tmp_path / "one.xlsx") == sha256_file(tmp_path / "two.xlsx")
    assert read_sheet(tmp_path / "one.xlsx").rows == {
        "A-1": {"FILE NAME": "A-1", "AGE": 40, "SEX": "F"},
        "A-2": {"FILE NAME": "A-2", "SEX": "M"},
    }


def test_a_delivery_without_news_leaves_the_sheet_alone(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "AGE"), ("A-1", 40), ("A-2", 50))
    write_sheet(delivered, ("FILE NAME", "AGE"), ("A-2", "50"))

    assert not merge_sheets(former, delivered, tmp_path / "merged.xlsx")
    assert not (tmp_path / "merged.xlsx").exists()


def test_headers_of_the_same_letters_are_one_column(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.csv"
    write_sheet(former, ("FILE NAME", "PATIENT", "Note 1", "Note 2"), ("A-1", 7, "a", "b"))
    add_text(delivered, "Image;Patient;note 3\nimages/a-1.png;;c\nA-2;8;d\n")

    assert merge_sheets(former, delivered, tmp_path / "merged.xlsx")

    assert read_sheet(tmp_path / "merged.xlsx").rows == {
        "A-1": {"FILE NAME": "A-1", "PATIENT": 7, "Note 1": "a", "Note 2": "b", "note 3": "c"},
        "A-2": {"FILE NAME": "A-2", "PATIENT": "8", "note 3": "d"},
    }


def test_who_is_unknown_stays_so_wherever_the_row_is_put(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "PATIENT"), ("A-1", 7), ("A-2", None))
    write_sheet(delivered, ("FILE NAME", "URL"), ("A-3", "https://a.org"))

    assert merge_sheets(former, delivered, tmp_path / "merged.xlsx")

    rows = read_sheet(tmp_path / "merged.xlsx").rows
    assert [row.get("PATIENT") for row in rows.values()] == [7, 7, None]
    assert [row.get("URL") for row in rows.values()] == [None, None, "https://a.org"]


def test_a_patient_may_be_told_later_and_not_changed(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "PATIENT"), ("A-1", "unknown"), ("A-2", 8))
    write_sheet(delivered, ("FILE NAME", "PATIENT"), ("A-1", 7))

    assert merge_sheets(former, delivered, tmp_path / "merged.xlsx")
    assert read_sheet(tmp_path / "merged.xlsx").rows["A-1"]["PATIENT"] == 7

    write_sheet(delivered, ("FILE NAME", "PATIENT"), ("A-2", 9))
    with pytest.raises(DatasetError, match="A-2: PATIENT is 9, another row says 8; correct one"):
        merge_sheets(former, delivered, tmp_path / "merged.xlsx")


def test_texts_stay_what_they_are(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.csv", tmp_path / "delivered.csv"
    add_text(former, 'FILE NAME,PATIENT,=Note\nA-1,="00123",== none\nA-2,8,#REF!\n')
    add_text(delivered, "FILE NAME,PATIENT,=Note\nA-3,=9,=\x0bsee\x01 above\n")

    assert merge_sheets(former, delivered, tmp_path / "merged.xlsx")

    merged = read_sheet(tmp_path / "merged.xlsx")
    assert merged.rows == {
        "A-1": {"FILE NAME": "A-1", "PATIENT": '="00123"', "=Note": "== none"},
        "A-2": {"FILE NAME": "A-2", "PATIENT": "8", "=Note": "#REF!"},
        "A-3": {"FILE NAME": "A-3", "PATIENT": "=9", "=Note": "= see  above"},
    }
    assert merged.formulas == 0
    assert not merge_sheets(tmp_path / "merged.xlsx", delivered, tmp_path / "again.xlsx")


def test_a_text_that_no_cell_can_hold_is_refused(tmp_path: Path) -> None:
    former, delivered = tmp_path / "former.csv", tmp_path / "delivered.csv"
    add_text(former, "FILE NAME\nA-1\n")
    add_text(delivered, f"FILE NAME,NOTE\nA-1,{'long' * 10_000}\n")

    with pytest.raises(DatasetError) as caught:
        merge_sheets(former, delivered, tmp_path / "merged.xlsx")

    assert str(caught.value) == (
        f"{delivered}: joined with the sheet of data/ it has a text of 40000 characters "
        "('longlonglonglonglong'...), expected at most 32767 as in .xlsx; shorten it"
    )
    assert not (tmp_path / "merged.xlsx").exists()
