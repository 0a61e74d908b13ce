"""What headers say of the picture's subject, in the words that people use."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from pipeline.errors import UnreadableError
from pipeline.radiograph.reading import Loaded, load_radiograph
from tests.radiograph.containers import dicom
from tests.radiograph.test_ways import saved
from tests.radiograph.ways import picture

PICTURE = picture()
UNSAID = {"BodyPartExamined": None, "ViewPosition": None, "Modality": None}


def loaded(folder: Path, **elements: Any) -> Loaded:
    said = UNSAID | {"SpecificCharacterSet": "ISO_IR 192"} | elements
    stead = {}
    for keyword, value in elements.items():
        if isinstance(value, str) and not value.isascii():
            # pydicom writes codes as Latin letters only, and people write what they like.
            stead[value.encode()] = said[keyword] = "X" * len(value.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = saved(folder / "a.dcm", dicom(PICTURE, **said))
    for written, standing in stead.items():
        path.write_bytes(path.read_bytes().replace(standing.encode(), written, 1))
    return load_radiograph(path)


def codes(meaning: str, value: str, modifier: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning, item.CodeValue = meaning, value
    if modifier:
        item.ViewModifierCodeSequence = codes(modifier, "G-1")
    return [item]


ORDINARY: list[dict[str, Any]] = [
    {"BodyPartExamined": "CHEST", "ViewPosition": "PA", "Modality": "DX"},
    {"BodyPartExamined": "CXR", "ViewPosition": "PACHEST", "Modality": "DR"},
    {"BodyPartExamined": "THORAX AP", "ViewPosition": "AP_SUPINE"},
    {"BodyPartExamined": "ГРУДНАЯ КЛЕТКА"},
    {"ViewPosition": "ПРЯМАЯ"},
    {"BodyPartExamined": "胸部"},
    {"SeriesDescription": "胸部 正位"},
    {"ViewCodeSequence": codes("postero-anterior", "R-10214")},
    {"AnatomicRegionSequence": codes("Chest", "T-D3000")},
    {"PatientOrientation": ["L", "F"]},
    {"PatientOrientation": ["R", "FA"]},
    {"PatientOrientation": ["", ""]},
    {"SeriesDescription": "Thorax PA/LAT", "StudyDescription": "XR CHEST 2 VIEWS"},
    {"SeriesDescription": "Chest with ribs", "ProtocolName": "Portable"},
    {"StudyDescription": "bilateral infiltrates, incidental finding"},
    {"PresentationIntentType": "FOR PRESENTATION"},
]


@pytest.mark.parametrize("elements", ORDINARY)
def test_what_is_said_of_frontal_chest_radiographs_needs_no_note(
    tmp_path: Path, elements: dict[str, Any]
) -> None:
    found = loaded(tmp_path, **elements)

    np.testing.assert_array_equal(found.pixels, PICTURE)
    assert found.notes == ()


NOTED: list[tuple[str, dict[str, Any]]] = [
    (
        "BodyPartExamined is TRUNK, which is no known part of the body",
        {"BodyPartExamined": "TRUNK"},
    ),
    ("ViewPosition is ERECT, which is no known view", {"ViewPosition": "ERECT"}),
    ("ViewPosition is AP LAT, which names another view as well", {"ViewPosition": "AP LAT"}),
    ("Modality is PHOTO, which is not known", {"Modality": "PHOTO"}),
    *[
        (f"PatientOrientation is {'/'.join(one)}: the picture is not", {"PatientOrientation": one})
        for one in (["H", "L"], ["F", "R"], ["R", "H"], ["L", "HA"])
    ],
    (
        "StudyDescription names another part of the body",
        {"StudyDescription": "ABDOMEN SERIES", "BodyPartExamined": "CHEST"},
    ),
    ("StudyDescription names another view", {"StudyDescription": "Lateral", "ViewPosition": "PA"}),
]


@pytest.mark.parametrize(("said", "elements"), NOTED)
def test_what_excludes_nothing_is_noted(
    tmp_path: Path, said: str, elements: dict[str, Any]
) -> None:
    (note,) = loaded(tmp_path, **elements).notes

    assert note.startswith(said)


EXCLUDED: list[dict[str, Any]] = [
    {"Modality": "MG"},
    {"BodyPartExamined": "TSPINE"},
    {"BodyPartExamined": "THORACIC SPINE"},
    {"BodyPartExamined": "WIRBELSÄULE"},
    {"BodyPartExamined": "ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА"},
    {"BodyPartExamined": "胸椎"},
    {"BodyPartExamined": "PELVIS"},
    {"AnatomicRegionSequence": codes("Knee", "T-D9200")},
    *[{"ViewPosition": view} for view in ("LL", "RLAT", "LLO", "CHESTLAT", "AP OBLIQUE", "LLD")],
    *[{"ViewPosition": view} for view in ("SEITLICH", "PROFIL", "PERFIL", "БОКОВАЯ", "侧位")],
    {"ViewCodeSequence": codes("left lateral", "R-10236")},
    {"ViewCodeSequence": codes("", "399198007")},
    {"ViewCodeSequence": codes("antero-posterior", "R-10206", "oblique")},
    {"PatientOrientation": ["A", "F"], "ViewPosition": "PA"},
    {"PatientOrientation": ["PR", "H"]},
    {"PatientOrientation": ["L", "P"]},
    {"SeriesDescription": "Thorax LAT", "ViewPosition": "PA"},
    {"SeriesDescription": "Abdomen erect"},
    {"ProtocolName": "Thorax seitlich"},
    {"StudyDescription": "Chest lateral"},
]


@pytest.mark.parametrize("elements", EXCLUDED)
def test_what_is_said_of_other_pictures_refuses_them(
    tmp_path: Path, elements: dict[str, Any]
) -> None:
    with pytest.raises(UnreadableError, match=f"{next(iter(elements))} is") as caught:
        loaded(tmp_path, **elements)

    assert caught.value.reason == "not_chest"


@pytest.mark.parametrize(
    "elements",
    [
        {"PresentationIntentType": "FOR PROCESSING"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"},
    ],
)
def test_raw_detector_data_is_refused(tmp_path: Path, elements: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError, match="FOR PROCESSING") as caught:
        loaded(tmp_path, **elements)

    assert caught.value.reason == "for_processing"


def test_descriptions_are_never_quoted(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as caught:
        loaded(tmp_path, SeriesDescription="Planted Person knee")
    found = loaded(tmp_path, StudyDescription="Planted Person knee", BodyPartExamined="CHEST")

    assert "PLANTED" not in (str(caught.value) + " ".join(found.notes)).upper()
