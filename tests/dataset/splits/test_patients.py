"""Whichever way a sheet names its patients: nobody is on two sides, or the run stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.metadata.origins import read_origins
from pipeline.errors import StageError
from pipeline.params import SplitParams
from pipeline.stages.split import assign_splits
from tests.dataset.delivery.deliveries import add_text
from tests.manifests import make_manifest

CLASSES = ("Normal", "Lung_Opacity")
PARAMS = SplitParams(
    val=0.3,
    test=0.3,
    near_duplicate_distance=20,
    max_source_pairs=9,
    max_patient_pairs=9,
    collections=[],
)
FILE_HEADERS = ("FILE NAME", "file_name", "Image Index", "Datei", "Имя файла", "nom du fichier")
PATIENT_HEADERS = (
    *("PATIENT", "patient id", "PatientID", "Patient-No.", "SUBJECT_ID", "MRN", "Patientennummer"),
    *("ID пациента", "Número de paciente", "identifiant du patient"),
    *("patient (hash)", "subject pseudonym"),  # not known, and alike
)
STUDY_HEADERS = ("accession number", "StudyInstanceUID", "Case", "Номер исследования", "étude")
SPELLINGS = (("{}",), ("{}.0", "{}"), ("P-{}", "p {}", "P0{}"), (" {} ", "{}"))
MOST = 8
"""Radiographs of a class."""
NOBODY = ("unknown", "N/A", "-", "0", "nan")
ENCODINGS = {".csv": ("utf-8", "utf-8-sig", "utf-16", "cp1251"), ".tsv": ("utf-8", "utf-16")}


@dataclass(frozen=True)
class Filling:
    """How a person fills in the sheet of a class."""

    headers: tuple[str, str]
    suffix: str
    encoding: str
    names: str
    """Of a file, with its number."""
    repeat: str
    """What stands below the first row of a patient: nothing, a merged cell, or the patient."""
    patients: Sequence[int]
    """Of each radiograph in turn; 0 is nobody that is known."""
    spellings: Sequence[str]
    nobody: str

    def lines(self) -> list[list[str]]:
        """The rows, those of a patient below each other."""
        order = sorted(range(len(self.patients)), key=lambda number: self.patients[number])
        rows, above = [list(self.headers)], -1
        for number in order:
            patient = self.patients[number]
            text = self.spellings[number].format(patient) if patient else self.nobody
            same = patient == above and self.repeat != "again"
            rows.append([self.names.format(number + 1), "" if same else text])
            above = patient
        return rows

    def write(self, folder: Path, class_name: str) -> None:
        path = folder / f"{class_name}.metadata{self.suffix}"
        if self.suffix.casefold() == ".xlsx":
            return self._write_workbook(path)
        separator = "\t" if self.suffix == ".tsv" else ";"
        text = "\n".join(separator.join(line) for line in self.lines())
        path.write_bytes(text.encode(self.encoding, "replace"))
        return None

    def _write_workbook(self, path: Path) -> None:
        workbook = Workbook()
        sheet = workbook.worksheets[0]
        starts = [2]
        for row, (name, patient) in enumerate(self.lines(), 1):
            sheet.append([name, int(patient) if patient.isdecimal() else patient or None])
            if row > 2 and patient:
                starts.append(row)
        ends = [*(start - 1 for start in starts[1:]), len(self.patients) + 1]
        for start, end in zip(starts, ends, strict=True):
            if self.repeat == "merged" and end > start:
                sheet.merge_cells(start_row=start, end_row=end, start_column=2, end_column=2)
        workbook.save(path)


@st.composite
def fillings(draw: st.DrawFn) -> tuple[Filling, ...]:
    """The sheet of each class; all of them number patients, or all of them number studies."""
    headers = draw(st.sampled_from([PATIENT_HEADERS, STUDY_HEADERS]))
    spellings = draw(st.sampled_from(SPELLINGS))
    return tuple(draw(filling(headers, spellings)) for _ in CLASSES)


@st.composite
def filling(draw: st.DrawFn, headers: Sequence[str], spellings: Sequence[str]) -> Filling:
    suffix = draw(st.sampled_from([".xlsx", ".XLSX", ".csv", ".tsv"]))
    count = draw(st.integers(2, MOST))
    named = draw(st.sampled_from(FILE_HEADERS)), draw(st.sampled_from(headers))
    # A header that an encoding cannot write would be another one.
    encodings = [one for one in ENCODINGS.get(suffix, ("utf-8",)) if has_letters(one, named)]
    return Filling(
        headers=named,
        suffix=suffix,
        encoding=draw(st.sampled_from(encodings)),
        names=draw(st.sampled_from(["{}", "{:04}.png", "images/{}.PNG", "Normal ({})"])),
        repeat=draw(st.sampled_from(["again", "empty", "merged"])),
        patients=draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)),
        spellings=draw(st.lists(st.sampled_from(spellings), min_size=count, max_size=count)),
        nobody=draw(st.sampled_from(NOBODY)),
    )


def has_letters(encoding: str, texts: Sequence[str]) -> bool:
    try:
        "".join(texts).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for class_name in CLASSES:
        for half in ("images", "masks"):
            for number in range(1, MOST + 1):
                add_text(folder / class_name / half / f"{number:04}.png")
    return folder


@pytest.mark.slow  # a sheet of each class is written and read for each example
@settings(max_examples=100, deadline=None)
@given(sheets=fillings())
def test_no_patient_is_on_two_sides_or_the_run_stops(
    data: Path, sheets: tuple[Filling, ...]
) -> None:
    for former in data.glob("*.metadata.*"):
        former.unlink()
    whose = {}
    for class_name, sheet in zip(CLASSES, sheets, strict=True):
        sheet.write(data, class_name)
        for number, patient in enumerate(sheet.patients, 1):
            whose[f"{class_name}/{number:04}"] = patient

    origins = read_origins(data, list_dataset(data))

    if origins.refused:
        event("refused")
        return
    rows = [
        {"class_name": image_id.split("/")[0], "image_id": image_id, **found._asdict()}
        for image_id, found in origins.by_image_id.items()
    ]
    found = {str(row["image_id"]) for row in rows}
    assert found <= set(whose)
    event("all found" if found == set(whose) else "some are not found")
    try:
        split, _ = assign_splits(make_manifest(rows), PARAMS)
    except StageError:
        event("stopped")
        return
    known = split.assign(whose=split["image_id"].map(whose)).query("whose > 0")
    assert (known.groupby("whose")["split"].nunique() == 1).all()
