"""Faults of sheets: whose they are, the delivery's or those of data/ itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.delivery.sheets import place_sheet, read_sheets
from pipeline.dataset.delivery.staging import Folders, link_tree
from pipeline.errors import DatasetError
from tests.dataset.delivery.deliveries import add_text, write_pair


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A delivery of a pair of COVID to a dataset of a pair of Normal and another of COVID."""
    write_pair(tmp_path / "delivery", "COVID", "COVID-2", 2)
    for name in ("Normal-1", "COVID-1"):
        write_pair(tmp_path / "data", name.split("-")[0], name, 1)
    return Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", move=False)


def problems_of(folders: Folders, *sheets: str) -> list[str]:
    """What an import of the delivery with these sheets has to say of sheets."""
    link_tree(folders.data, folders.staging)
    write_pair(folders.staging, "COVID", "COVID-2", 2)
    problems: list[str] = []
    for sheet in sheets:
        place_sheet(sheet, folders, None, problems)
    read_sheets(list(sheets), folders, None, problems)
    return problems


@pytest.mark.parametrize("name", ["Normal.metadata.xlsx", "COVID.metadata.xlsx"])
def test_a_sheet_of_data_that_cannot_be_read_is_no_fault_of_the_delivery(
    folders: Folders, name: str
) -> None:
    add_text(folders.data / name)
    add_text(folders.delivery / "COVID.metadata.csv", "FILE,PATIENT\nCOVID-2,7\n")

    with pytest.raises(DatasetError) as caught:
        problems_of(folders, "COVID.metadata.csv")

    said = str(caught.value)
    assert said.startswith(f"data/{name}: not readable as .xlsx")
    assert said.endswith("; export it again, then run `dvc add data` and commit")


def test_a_delivered_sheet_that_cannot_be_read_is_a_fault_of_the_delivery(
    folders: Folders,
) -> None:
    add_text(folders.data / "COVID.metadata.csv", "FILE,PATIENT\nCOVID-1,7\n")
    add_text(folders.delivery / "COVID.metadata.xlsx")

    (problem,) = problems_of(folders, "COVID.metadata.xlsx")

    assert problem.startswith("COVID.metadata.xlsx: not readable as .xlsx")


def test_a_gap_that_a_delivery_makes_in_a_sheet_of_data_is_its_own_fault(folders: Folders) -> None:
    add_text(folders.data / "COVID.metadata.csv", "FILE,CONVENTION\nCOVID-1,wide\n")

    (problem,) = problems_of(folders)

    assert problem.startswith("COVID.metadata.csv: its column of conventions says that of 1 ")


def test_a_sheet_is_no_fault_of_a_dataset_without_a_pair(folders: Folders) -> None:
    for half in ("images", "masks"):
        for path in folders.data.glob(f"*/{half}/*.png"):
            path.unlink()
    add_text(folders.data / "Normal.metadata.xlsx")

    (problem,) = problems_of(folders)

    assert problem.startswith("Normal.metadata.xlsx: not readable as .xlsx")
