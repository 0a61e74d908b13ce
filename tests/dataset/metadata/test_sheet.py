from __future__ import annotations

import re
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from pipeline.dataset.metadata import workbook as workbooks
from pipeline.dataset.metadata.sheet import read_sheet
from pipeline.errors import DatasetError
from tests.dataset.delivery.deliveries import add_text, write_sheet

HEADER = ("FILE NAME", "PATIENT")


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        read_sheet(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    return str(caught.value)


def patients(path: Path) -> list[str]:
    sheet = read_sheet(path)
    return [sheet.value(row, "patient") for row in sheet.rows.values()]


def save(path: Path, *lines: tuple[object, ...], merge: str = "") -> Path:
    write_sheet(path, *lines)
    if merge:
        workbook = load_workbook(path)
        workbook.worksheets[0].merge_cells(merge)
        workbook.save(path)
    return path


def test_empty_rows_and_columns_are_no_content(tmp_path: Path) -> None:
    sheet = tmp_path / "a.xlsx"
    write_sheet(sheet, (None, "FILE NAME ", None, "AGE"), (None, "A-1", None, 40), (None,) * 4)

    assert read_sheet(sheet).rows == {"A-1": {"FILE NAME": "A-1", "AGE": 40}}


@pytest.mark.parametrize("name", ["a.xlsx", "a.XLSX"])
def test_empty_further_sheets_are_ignored_wherever_they_stand(tmp_path: Path, name: str) -> None:
    workbook = Workbook()
    second = workbook.create_sheet("second")
    second.append(["FILE NAME"])
    second.append(["A-1"])
    workbook.create_sheet("third").append([None, " "])
    workbook.save(tmp_path / name)

    assert read_sheet(tmp_path / name).rows == {"A-1": {"FILE NAME": "A-1"}}


def test_several_filled_sheets_are_refused(tmp_path: Path) -> None:
    workbook = Workbook()
    for sheet in (workbook.worksheets[0], workbook.create_sheet("more")):
        sheet.append(["FILE NAME"])
    workbook.save(tmp_path / "a.xlsx")

    assert "has 2 sheets that are not empty, expected one" in refusal(tmp_path / "a.xlsx")


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04cut"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)

    assert "not readable as .xlsx" in refusal(tmp_path / "a.xlsx")


def test_a_workbook_of_another_make_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("content.xml", "<office/>")

    assert "not readable as .xlsx" in refusal(tmp_path / "a.xlsx")


def test_another_kind_of_sheet_is_refused(tmp_path: Path) -> None:
    add_text(tmp_path / "a.ods")

    assert "is of a kind that is not read; save it as .xlsx or .csv" in refusal(tmp_path / "a.ods")


def test_an_unclosed_quote_swallows_no_rows(tmp_path: Path) -> None:
    add_text(tmp_path / "a.csv", 'FILE,PATIENT\na,"1\nb,2\n')

    assert "not readable as .csv" in refusal(tmp_path / "a.csv")


def test_rows_of_one_file_must_agree(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", ("FILE NAME", "AGE"), ("A-1", 4), ("a-1.png", 5))

    assert "A-1: AGE is 5, another row says 4; correct one of them" in refusal(path)


def test_a_patient_that_is_written_once_is_that_of_the_rows_below(tmp_path: Path) -> None:
    lines = [("a", None), ("b", 1), ("c", None), (None, 2), ("d", None), ("e", "-"), ("f", None)]
    path = save(tmp_path / "a.xlsx", HEADER, *lines)

    assert patients(path) == ["", "1", "1", "2", "", ""]
    sheet = read_sheet(path)
    assert (sheet.filled, sheet.nameless) == (3, 1)


def test_a_row_that_says_it_itself_counts_more_than_the_row_above(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", 1), ("b", None), ("b", 2))

    assert patients(path) == ["1", "2"]


def test_a_merged_cell_says_the_same_for_all_its_rows(tmp_path: Path) -> None:
    lines = [HEADER, ("a", 1), ("b", None), ("c", None), ("d", 2)]

    assert patients(save(tmp_path / "a.xlsx", *lines, merge="B2:B4")) == ["1", "1", "1", "2"]


def test_a_merged_title_is_no_header(tmp_path: Path) -> None:
    lines = [("Our images", None), HEADER, ("a", 1), ("b", 2)]

    assert patients(save(tmp_path / "a.xlsx", *lines, merge="A1:B1")) == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "patient"),
    [
        (46, "46"),
        (46.0, "46"),
        ("46.0", "46"),
        (" P  7\n", "P 7"),
        ("0", ""),
        (0, ""),
        (1.5, "1.5"),
    ],
)
def test_a_number_is_one_patient_however_it_is_kept(
    tmp_path: Path, value: object, patient: str
) -> None:
    assert patients(save(tmp_path / "a.xlsx", HEADER, ("a", value))) == [patient]


def test_formulas_without_a_value_that_name_somebody_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", "=A1"), ("b", "=A2"))

    assert "PATIENT has 2 formulas without a value; open the sheet" in refusal(path)


def test_other_formulas_without_a_value_are_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", ("FILE NAME", "AGE"), ("a", "=1+1"), ("b", 2))

    assert read_sheet(path).formulas == 1


def test_a_formula_whose_value_is_empty_is_an_empty_cell(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", 1), ("b", "=X"))
    edit(path, rb'<c r="B3"[^>]*><f>X</f><v ?/?>(</v>)?', b'<c r="B3" t="str"><f>X</f><v></v>')

    assert patients(path) == ["1", "1"]


def test_a_formula_that_failed_has_no_value(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", "#REF!"), ("b", "#N/A"))

    assert "PATIENT has 1 formulas without a value" in refusal(path)


def edit(path: Path, old: bytes, new: bytes) -> None:
    """Change the XML of the only sheet."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, re.sub(old, new, content) if "sheet1" in name else content)


def test_columns_that_look_like_a_patient_beside_one_are_told(tmp_path: Path) -> None:
    lines = [("FILE", "Patient ID", "Patient name", "Patient (hash)", "Patient age")]
    path = save(tmp_path / "a.xlsx", *lines, ("a", 1, "Li", "x", 40), ("b", 2, "Li", "y", 50))

    assert read_sheet(path).unused == ("Patient name", "Patient (hash)")
    assert patients(path) == ["1", "2"]


def test_a_column_that_may_be_the_only_patient_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", ("FILE", "Patient (hash)"), ("a", "x"), ("b", "y"))

    assert "Patient (hash) may say who the patient is, and no column is known to" in refusal(path)
    assert read_sheet(path, {"patient": ["patient (hash)"]}).unused == ()


def test_two_columns_of_patients_complete_each_other(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.xlsx", ("FILE", "PATIENT", "PATIENT ID"), ("a", "-", 1), ("b", 2, "-")
    )

    assert patients(path) == ["1", "2"]
    assert read_sheet(path).unused == ()


def test_two_columns_of_patients_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    lines = [("FILE", "PATIENT", "PATIENT ID"), ("a", "Li", 1), ("b", "Li", "-")]

    said = refusal(save(tmp_path / "a.xlsx", *lines))

    assert "PATIENT Li is without PATIENT ID in one row and 1 in another" in said
    assert "validate.patient_columns" in said


@pytest.mark.parametrize("header", ["PATIENT", "AGE"])
def test_two_columns_of_studies_matter_where_no_patient_is_known(
    tmp_path: Path, header: str
) -> None:
    lines = [("FILE", "CASE", "STUDY ID", header), ("a", 1, "s1", 5), ("b", 1, "-", 5)]
    path = save(tmp_path / "a.xlsx", *lines)

    if header == "PATIENT":
        sheet = read_sheet(path)
        assert [sheet.value(row, "study") for row in sheet.rows.values()] == ["s1", ""]
    else:
        assert "CASE 1 is without STUDY ID in one row and s1 in another" in refusal(path)


def test_the_column_that_the_project_names_is_the_patient(tmp_path: Path) -> None:
    lines = [("FILE", "PATIENT", "PATIENT ID"), ("a", "Li", 1), ("b", "-", 1), ("c", "Bo", "-")]
    path = save(tmp_path / "a.xlsx", *lines)

    sheet = read_sheet(path, {"patient": ["Patient"]})

    assert [sheet.value(row, "patient") for row in sheet.rows.values()] == ["Li", "", "Bo"]
    assert sheet.unused == ("PATIENT ID",)


def test_columns_of_one_thing_are_filled_together(tmp_path: Path) -> None:
    lines = [("FILE", "PATIENT", "PATIENT ID"), ("a", 7), ("b", None), ("c", None, 9), ("d",)]
    path = save(tmp_path / "a.xlsx", *lines)

    assert patients(path) == ["7", "7", "9", "9"]

    path = save(tmp_path / "b.xlsx", lines[0], ("a", "Li", 1), ("b", "Li"), ("c", "Bo", 2))
    assert patients(path) == ["1", "1", "2"]


def test_a_far_cell_costs_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", 1))
    workbook = load_workbook(path)
    workbook.worksheets[0]["XFD300000"] = "x"
    workbook.save(path)
    tracemalloc.start()
    start = time.process_time()
    try:
        sheet = read_sheet(path)
        taken, most = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert taken < 2
    assert most < 20 * 2**20
    assert (list(sheet.rows), sheet.beyond, sheet.nameless) == (["a"], 1, 1)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_CELLS", "MAX_LINES"])
def test_an_endless_workbook_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    path = save(tmp_path / "a.xlsx", HEADER, ("a", 1))
    monkeypatch.setattr(workbooks, bound, 0)

    assert "more than" in refusal(path)
