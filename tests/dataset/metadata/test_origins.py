from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.metadata.origins import Origin, Origins, is_table, read_origins
from tests.dataset.delivery.deliveries import add_text, write_sheet


def add_class(root: Path, class_name: str, *names: str) -> None:
    """Files that only have names: nothing opens them."""
    for name in names:
        for half in ("images", "masks"):
            add_text(root / class_name / half / f"{name}.png")


def read(root: Path) -> Origins:
    return read_origins(root, list_dataset(root))


def refusal(root: Path) -> str:
    """What is said of the only sheet, which is refused."""
    origins = read(root)
    (refused,) = origins.refused
    assert refused.reason == "metadata"
    assert origins.by_image_id == {}
    assert origins.counts["refused"] == 1
    assert origins.findings[0].finding == f"{refused.path}: {refused.found}; {refused.remedy}"
    return f"{refused.found}; {refused.remedy}"


@pytest.mark.parametrize(
    ("column", "value", "patient", "study"),
    [
        ("PATIENT", 46, "46", ""),
        ("patient id", "P-7 ", "P-7", ""),
        ("PATIENT ID", None, "", ""),
        ("AGE", 46, "", ""),
        ("Accession", 46, "", "46"),
    ],
)
def test_source_patient_and_study_come_from_the_sheet(
    tmp_path: Path, column: str, value: object, patient: str, study: str
) -> None:
    add_class(tmp_path, "COVID", "COVID-1")
    write_sheet(
        tmp_path / "COVID.metadata.xlsx",
        ("FILE NAME", "URL", column),
        ("COVID-1", "https://example.org", value),
    )

    origins = read(tmp_path)

    assert origins.by_image_id == {
        "COVID/COVID-1": Origin("https://example.org", patient, study, math.nan)
    }
    assert origins.refused == []


@pytest.mark.parametrize("name", ["A.metadata.XLSX", "a.Metadata.xlsx"])
def test_a_sheet_is_known_in_any_case(tmp_path: Path, name: str) -> None:
    add_class(tmp_path, "A", "A-1")
    write_sheet(tmp_path / name, ("File", "Patient"), ("a-1.PNG", 1))

    assert read(tmp_path).by_image_id["A/A-1"].patient == "1"


@pytest.mark.parametrize(
    ("value", "spacing"),
    [(0.143, 0.143), ("1.5", 1.5), (0, None), (-1, None), ("inf", None), ("0.1 mm", None)],
)
def test_a_spacing_is_a_positive_number_or_unknown(
    tmp_path: Path, value: object, spacing: float | None
) -> None:
    add_class(tmp_path, "N", "N-1")
    write_sheet(tmp_path / "N.metadata.xlsx", ("FILE NAME", "Pixel spacing"), ("N-1", value))

    (origin,) = read(tmp_path).by_image_id.values()

    assert origin.spacing == spacing or (spacing is None and math.isnan(origin.spacing))


def test_a_damaged_sheet_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    add_class(tmp_path, "COVID", "COVID-1")
    add_class(tmp_path, "Normal", "Normal-1")
    (tmp_path / "COVID.metadata.xlsx").write_bytes(b"PK")
    write_sheet(tmp_path / "Normal.metadata.xlsx", ("FILE NAME", "URL"), ("Normal-1", "u"))

    origins = read(tmp_path)

    assert list(origins.by_image_id) == ["Normal/Normal-1"]
    (row,) = origins.refused
    assert (row.path, row.reason, row.image_id) == ("COVID.metadata.xlsx", "metadata", "")
    assert row.found.startswith("not readable as .xlsx")
    assert row.remedy == "export it again"


def test_what_a_sheet_does_not_say_is_counted_and_named(tmp_path: Path) -> None:
    add_class(tmp_path, "A", *(f"A-{number}" for number in range(1, 7)))
    add_text(
        tmp_path / "A.metadata.csv",
        "FILE NAME;PATIENT;PATIENT (old);AGE\nA-1;1;x;4\nA-2;;x\nA-3;-;x\nB-1;2\n;3\nA-4;4;;;5\n",
    )

    origins = read(tmp_path)

    assert origins.lines == [
        "A.metadata.csv: rows 5, with a radiograph 4, patients 2, empty cells that took the value "
        "above 1"
    ]
    assert [one.finding.removeprefix("A.metadata.csv: ") for one in origins.findings] == [
        "rows that name no radiograph: 1 (B-1)",
        "radiographs without a row: 2 (A-5, A-6)",
        "rows without a patient: 1 (A-3)",
        "columns that look like a patient and are not read: 1 (PATIENT (old))",
        "lines without a file name: 1",
        "cells in columns without a header: 1",
    ]
    assert {kind: count for kind, count in origins.counts.items() if count} == {
        **{"sheets": 1, "rows": 5, "rows_with_file": 4, "patients": 2, "filled_cells": 1},
        **{"rows_without_file": 1, "files_without_row": 2, "without_patient": 1},
        **{"unused_columns": 1, "lines_without_name": 1, "cells_without_header": 1},
    }


@pytest.mark.parametrize(
    ("header", "named", "said"),
    [
        (
            "Annotator",
            "Anotator",
            "columns that params.yaml names and no sheet has: 'Anotator' of ",
        ),
        ("Conventon", None, "A.metadata.csv: columns that look like a convention and are not read"),
        ("Convention (lungs)", None, "A.metadata.csv: columns that look like a convention and are"),
        ("Intention", None, ""),
        ("Annotator", "annotator", ""),
    ],
)
def test_a_column_of_conventions_that_is_not_found_is_named(
    tmp_path: Path, header: str, named: str | None, said: str
) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    add_text(tmp_path / "A.metadata.csv", f"FILE,{header}\nA-1,wide\nA-2,narrow\n")
    names = {"convention": [named] if named else [], "patient": []}

    origins = read_origins(tmp_path, list_dataset(tmp_path), names)

    found = [one.finding for one in origins.findings]
    assert len(found) == bool(said)
    assert all(one.startswith(said) for one in found)


def test_a_sheet_in_another_encoding_says_so(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "снимок-1")
    text = "Файл;Пациент\nснимок-1;Иванов\n"
    (tmp_path / "A.metadata.csv").write_bytes(text.encode("cp1251"))

    origins = read(tmp_path)

    assert origins.by_image_id["A/снимок-1"].patient == "Иванов"
    assert origins.lines[0].endswith(", read as cp1251")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("xx-1",), ("xx-2",)], "none of its 2 rows names .* found xx-1, xx-2, expected .* A-1;"),
        ([], "none of its 0 rows names a radiograph of the class: found none"),
    ],
)
def test_a_sheet_that_matches_nothing_is_refused(
    tmp_path: Path, lines: list[tuple[str]], said: str
) -> None:
    add_class(tmp_path, "A", "A-1")
    write_sheet(tmp_path / "A.metadata.xlsx", ("FILE NAME",), *lines)

    assert re.search(said, refusal(tmp_path))


def test_a_sheet_of_no_class_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    write_sheet(tmp_path / "B.metadata.xlsx", ("FILE NAME",), ("A-1",))

    assert refusal(tmp_path) == "there is no class of this name; rename the sheet"


@pytest.mark.parametrize("name", ["A.metadata.csv", "A\n.metadata.csv"])
def test_a_sheet_that_must_not_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    add_class(tmp_path / "data", "A", "A-1")
    add_text(tmp_path / "A.metadata.csv", "FILE,PATIENT\nA-1,1\n")
    (tmp_path / "data" / name).symlink_to(tmp_path / "A.metadata.csv")

    said = refusal(tmp_path / "data")

    assert said.startswith("a link to /" if name.isprintable() else "control or undecodable")


def test_a_sheet_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A" * 190, "A-1")
    add_text(tmp_path / f"{'A' * 190}.metadata.csv", "FILE,PATIENT\nA-1,1\n")

    assert refusal(tmp_path) == "a name of 203 bytes, expected at most 200; shorten it"


def test_classes_that_differ_by_case_have_sheets_of_their_own(tmp_path: Path) -> None:
    for name in ("COVID", "covid"):
        add_class(tmp_path, name, "1")
        write_sheet(tmp_path / f"{name}.metadata.xlsx", ("FILE", "PATIENT"), ("1", f"of {name}"))

    origins = read(tmp_path)

    assert not origins.refused
    patients = {image_id: origin.patient for image_id, origin in origins.by_image_id.items()}
    assert patients == {"COVID/1": "of COVID", "covid/1": "of covid"}


def test_a_sheet_of_another_case_is_of_the_only_class_that_it_may_mean(tmp_path: Path) -> None:
    add_class(tmp_path, "COVID", "1")
    write_sheet(tmp_path / "Covid.METADATA.xlsx", ("FILE", "PATIENT"), ("1", "Ada"))
    assert read(tmp_path).by_image_id["COVID/1"].patient == "Ada"

    add_class(tmp_path, "covid", "1")

    assert refusal(tmp_path) == "may be of COVID or covid; rename the sheet"


def test_the_second_sheet_of_a_class_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "A.metadata.csv", "FILE,PATIENT\nA-1,1\n")
    add_text(tmp_path / "A.metadata.tsv", "FILE\tPATIENT\nA-1\t1\n")

    (refused,) = read(tmp_path).refused

    assert refused.path == "A.metadata.tsv"
    assert refused.found == "A.metadata.csv is a sheet of this class too"


def test_the_row_of_a_radiograph_that_is_set_aside_has_a_file(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "A/images/A-2.png")
    write_sheet(tmp_path / "A.metadata.xlsx", ("FILE NAME",), ("A-1",), ("A-2",))

    assert read(tmp_path).findings == []


def test_tables_of_another_name_are_told(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "patients.csv")
    add_text(tmp_path / "~$A.metadata.xlsx")

    (finding,) = read(tmp_path).findings

    assert finding.finding == (
        "tables that are not read: 1 (patients.csv); name them <class>.metadata.xlsx or .csv"
    )
    assert is_table("Normal.XLS")
    assert not is_table("README.md")
