"""Names that differ from those of data/ by case, or by how a Mac writes letters."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pipeline.dataset.delivery.importing import import_dataset
from pipeline.dataset.delivery.known_names import class_problems, named_as_in_data
from pipeline.dataset.delivery.listing import list_delivery
from pipeline.dataset.delivery.sheets import place_sheet
from pipeline.dataset.delivery.staging import Folders, link_tree
from pipeline.dataset.layout import list_dataset, list_sheets
from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    recorded_conventions,
    write_recorded,
)
from pipeline.dataset.metadata.sheet import read_sheet
from pipeline.files import sha256_file
from tests.dataset.delivery.deliveries import Deliver, add_text, refusal, write_pair

NAME = "рентген й-ä"
PARTED = unicodedata.normalize("NFD", NAME)


@pytest.mark.parametrize("half", ["images", "masks"])
def test_a_name_that_differs_by_case_from_one_in_data_is_a_problem(
    tmp_path: Path, half: str
) -> None:
    write_pair(tmp_path / "delivery", "COVID", "IMG-7", 1)
    add_text(tmp_path / f"data/COVID/{half}/img-7.png")
    add_text(tmp_path / f"data/Normal/{half}/IMG-7.png")
    delivery = list_delivery(tmp_path / "delivery")

    found = named_as_in_data(delivery, tmp_path / "data")

    assert found.problems == [
        "COVID/images/IMG-7.png: data/ has img-7 in this class, expected names that differ by more "
        "than case; name the pair img-7 if it is the same, else rename it"
    ]
    assert (found.pairs, delivery.problems) == (delivery.pairs, [])
    assert named_as_in_data(delivery, tmp_path / "nothing") == delivery


@pytest.mark.parametrize(("here", "there"), [(PARTED, NAME), (NAME, PARTED), (NAME, NAME)])
def test_a_name_of_the_same_letters_is_that_of_data(tmp_path: Path, here: str, there: str) -> None:
    write_pair(tmp_path / "delivery", "COVID", here, 1)
    write_pair(tmp_path / "data", "COVID", there, 1)
    write_pair(tmp_path / "data", "COVID", there.upper(), 2)

    found = named_as_in_data(list_delivery(tmp_path / "delivery"), tmp_path / "data")

    assert found.problems == []
    assert [(one.pair.name, one.image.stem) for one in found.pairs] == [(there, here)]


@pytest.mark.parametrize(("here", "there"), [(PARTED, NAME), (NAME, PARTED)])
def test_a_class_and_a_sheet_of_the_same_letters_are_those_of_data(
    tmp_path: Path, here: str, there: str
) -> None:
    folders = Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", move=False)
    for root, class_name, number in ((folders.data, there, 1), (folders.delivery, here, 2)):
        write_pair(root, class_name, str(number), number)
        write_pair(root, class_name, here, 3)
        add_text(root / f"{class_name}.metadata.csv", f"FILE,PATIENT\n{number},7\n")
    link_tree(folders.data, folders.staging)

    found = named_as_in_data(list_delivery(folders.delivery), folders.data)

    assert class_problems(found, folders.data) == []
    assert [one.pair.image_id for one in found.pairs] == [f"{there}/2", f"{there}/{here}"]
    assert place_sheet(f"{here}.metadata.csv", folders, None, [])
    (sheet,) = list_sheets(folders.staging)
    assert sheet.name == f"{there}.metadata.xlsx"
    assert list(read_sheet(sheet).rows) == ["1", "2"]


def test_of_classes_that_differ_by_case_each_is_itself(tmp_path: Path) -> None:
    for name in ("COVID", "Covid"):
        write_pair(tmp_path / "data", name, "a", 1)
        write_pair(tmp_path / "delivery", "COVID", "b", 2)
    add_text(tmp_path / "delivery/covid.metadata.csv")

    problems = class_problems(list_delivery(tmp_path / "delivery"), tmp_path / "data")

    assert problems == ["covid.metadata.csv: there is no class covid; rename the sheet"]


def test_a_pair_whose_name_data_may_not_have_is_a_problem(tmp_path: Path) -> None:
    write_pair(tmp_path / "delivery", "COVID", "x" * 196, 1)
    write_pair(tmp_path / "delivery", "COVID", "y" * 197, 2)
    parted = unicodedata.normalize("NFD", "ä" * 80)
    write_pair(tmp_path / "delivery", "COVID", parted, 3)
    write_pair(tmp_path / "data", "COVID", "ä" * 80, 3)
    mask = tmp_path / f"delivery/COVID/masks/{'x' * 196}.png"
    mask.rename(mask.with_name(f"{'x' * 196}_mask.png"))

    found = named_as_in_data(list_delivery(tmp_path / "delivery"), tmp_path / "data")

    assert found.problems == [
        f"COVID/images/{'y' * 197}.png: gives a name of 201 bytes, expected at most 200; shorten it"
    ]


def test_names_that_validate_would_set_aside_are_refused(tmp_path: Path, project: Path) -> None:
    class_name = "C" * 201
    write_pair(tmp_path / "delivery", class_name, "a", 1)
    write_pair(tmp_path / "delivery", "COVID", "x" * 197, 2)
    write_pair(tmp_path / "delivery", "N" * 190, "b", 3)
    add_text(tmp_path / f"delivery/{'N' * 190}.metadata.csv", "FILE\nb\n")

    message = refusal(tmp_path / "delivery", project)

    assert "3 problems" in message
    for name in (f"COVID/images/{'x' * 197}.png", class_name, f"{'N' * 190}.metadata.csv"):
        assert f"{name}: " in message


@pytest.mark.slow
def test_names_beside_those_of_data_are_judged_by_an_import(
    deliver: Deliver, project: Path, tmp_path: Path
) -> None:
    first = deliver("COVID", name="first")
    write_pair(first, NAME, NAME, 3)
    import_dataset(first, project)
    mac = tmp_path / "mac"
    write_pair(mac, PARTED, PARTED, 3)
    write_pair(mac, "COVID", "COVID-9", 9)
    sha256 = sha256_file(mac / f"{PARTED}/masks/{PARTED}.png")
    write_recorded(mac, {f"{PARTED}/{PARTED}": ConventionRow(PARTED, sha256, "wide", "person")})
    other = tmp_path / "other"
    write_pair(other, "COVID", "Covid-1", 5)
    add_text(other / "COVID.metadata.csv", "FILE,PATIENT\nCovid-1,7\n")

    assert "data/ has COVID-1 in this class" in refusal(other, project, append=True)
    result = import_dataset(mac, project, append=True)

    assert (result.added, result.skipped, result.renamed) == ({"COVID": 1}, 1, 0)
    assert recorded_conventions(project / "data") == {
        f"{NAME}/{NAME}": ConventionRow(NAME, sha256, "wide", "person")
    }
    names = [pair.name for pair in list_dataset(project / "data").pairs]
    assert names == ["COVID-1", "COVID-2", "COVID-9", NAME]
