from __future__ import annotations

import pytest

from pipeline.dataset.metadata.cells import Cells
from pipeline.dataset.metadata.columns import (
    FILE,
    PATIENT,
    SOURCE,
    STUDY,
    USUAL,
    find_columns,
    looks_like_patient,
)
from pipeline.errors import DatasetError


def cells(*lines: tuple[object, ...]) -> Cells:
    return Cells(
        {number: dict(enumerate(line, 1)) for number, line in enumerate(lines, 1) if any(line)}
    )


@pytest.mark.parametrize(
    ("role", "header"),
    [
        *((FILE, one) for one in ("File_Name", "filename", "Image Index", "Dateiname", "Файл")),
        *((FILE, one) for one in ("Имя файла", "Nombre del archivo", "Nom du fichier")),
        *((PATIENT, one) for one in ("Patient-ID", "patientId", "PATIENT ID ", "Subject_ID")),
        *(
            (PATIENT, one)
            for one in ("Patient #", "MRN", "Patienten-Nr.", "ID пациента", "Пациент")
        ),
        *((PATIENT, one) for one in ("Número de paciente", "Identifiant du patient", "№ пациента")),
        *(
            (STUDY, one)
            for one in ("StudyInstanceUID", "Accession Number", "Исследование", "Étude")
        ),
        *((SOURCE, one) for one in ("Url", "Source", "Quelle", "Источник", "Fuente", "Lien")),
    ],
)
def test_a_header_is_known_by_its_letters(role: str, header: str) -> None:
    found = find_columns(cells(("FILE NAME", "Age", header)), {})

    assert 3 in found.by_role[role]


def test_no_usual_header_says_two_things() -> None:
    keys = [key for usual in USUAL.values() for key in usual]

    assert len(set(keys)) == len(keys)


def test_the_header_may_stand_below_a_title() -> None:
    found = find_columns(cells(("Images of 2020",), (), ("FILE", "PATIENT"), ("file", "image")), {})

    assert (found.line, found.file) == (3, 1)


def test_own_headers_come_before_the_usual_ones() -> None:
    line = ("Nr.", "Patient", "Case", "Klinik")

    own = {"file": ["nr"], "patient": ["CASE"], "study": [], "source": ["klinik"]}
    found = find_columns(cells(line), own)

    assert found.by_role == {FILE: (1,), PATIENT: (3, 2), SOURCE: (4,)}
    assert found.chosen == {FILE, PATIENT, SOURCE}


def test_a_header_of_signs_alone_can_be_named() -> None:
    assert find_columns(cells(("1", "#", "%")), {"file": ["#"]}).file == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "columns are missing; expected 'FILE NAME' or a like one"),
        ([("NAME", "AGE")], "columns are NAME, AGE; expected 'FILE NAME'.*validate.file_columns"),
        ([("FILE NAME", "AGE", "AGE")], "the column AGE stands twice; rename or remove one"),
    ],
)
def test_columns_that_cannot_be_understood_are_refused(
    lines: list[tuple[object, ...]], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        find_columns(cells(*lines), {})


@pytest.mark.parametrize("header", ["Patient (hashed)", "Hash пациента", "study_subject", "Id"])
def test_some_columns_look_like_a_patient(header: str) -> None:
    assert looks_like_patient(header, ["a", "b", "a"])


@pytest.mark.parametrize(
    "header", ["Patient Age", "PatientSex", "patient_position", "Возраст пациента", "Alter", "Row"]
)
def test_others_do_not(header: str) -> None:
    assert not looks_like_patient(header, ["a", "b", "a"])


def test_a_number_of_rows_is_no_patient() -> None:
    assert not looks_like_patient("ID", ["1", "2", "", ""])
