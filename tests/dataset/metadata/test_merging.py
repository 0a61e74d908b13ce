from __future__ import annotations

from pathlib import Path

import pytest
from openpyxl import load_workbook

from pipeline.dataset.metadata import merging
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


def test_rows_of_one_file_are_one_however_they_spell_it(tmp_path: Path) -> None:
    former, delivered = tmp_path / "COVID.metadata.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "URL"), ("COVID-1", "https://a.org"), ("COVID-2", "b"))
    write_sheet(delivered, ("FILE NAME", "PATIENT"), ("COVID (1)", 7), ("images/0002.png", 8))

    assert merge_sheets(former, delivered, tmp_path / "merged.xlsx")

    assert read_sheet(tmp_path / "merged.xlsx").rows == {
        "COVID-1": {"FILE NAME": "COVID-1", "URL": "https://a.org", "PATIENT": 7},
        "COVID-2": {"FILE NAME": "COVID-2", "URL": "b", "PATIENT": 8},
    }


@pytest.mark.parametrize("second", [8, 7])
def test_a_delivered_row_that_two_former_ones_may_be_meant_by_is_refused(
    tmp_path: Path, second: int
) -> None:
    former, delivered = tmp_path / "COVID.metadata.xlsx", tmp_path / "delivered.xlsx"
    write_sheet(former, ("FILE NAME", "PATIENT"), ("COVID-1", 7), ("0001", second))
    write_sheet(delivered, ("FILE NAME", "SEX"), ("COVID (1)", "F"))

    with pytest.raises(DatasetError, match=r"beside the sheet of data/ COVID \(1\) may mean"):
        merge_sheets(former, delivered, tmp_path / "merged.xlsx")


def test_in_a_joined_sheet_an_empty_cell_is_not_the_one_above(tmp_path: Path) -> None:
    rows = {"A-1": {"FILE NAME": "A-1", "PATIENT": 7}, "A-2": {"FILE NAME": "A-2", "SEX": "F"}}
    joined, saved = tmp_path / "joined.xlsx", tmp_path / "saved.xlsx"

    merging._write_sheet(joined, rows, set())  # as version 0.3 did, without a word for nobody
    workbook = load_workbook(joined)
    workbook.save(saved)

    assert read_sheet(joined).rows == rows
    assert read_sheet(saved).rows["A-2"] == {"FILE NAME": "A-2", "PATIENT": 7, "SEX": "F"}


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
