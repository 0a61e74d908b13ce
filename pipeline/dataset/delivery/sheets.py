"""Putting delivered metadata sheets beside the pairs, joined with those that data/ has."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.dataset.delivery.staging import Folders
from pipeline.dataset.layout import (
    METADATA_SUFFIX,
    Listing,
    Quarantined,
    list_dataset,
    list_sheets,
    refuse_unsafe,
    sheet_class,
)
from pipeline.dataset.metadata.merging import merge_sheets
from pipeline.dataset.metadata.origins import Origins, delivered_losses, read_origins
from pipeline.dataset.metadata.told_conventions import mask_files, settle_conventions
from pipeline.dataset.spellings import spelt_as
from pipeline.errors import DatasetError


def _former_sheet(name: str, folders: Folders) -> Path | None:
    """The sheet that data/ has of the class of the delivered one."""
    sheets = list_sheets(folders.data) if folders.data.is_dir() else []
    by_class = {sheet_class(one.name) or "": one for one in sheets}
    return by_class.get(spelt_as(sheet_class(name) or "", by_class))


def place_sheet(
    name: str, folders: Folders, names: dict[str, list[str]] | None, problems: list[str]
) -> bool:
    """Place a metadata sheet; whether that changes the dataset.

    What is wrong with that of data/ is left to `read_sheets`.
    """
    delivered, former = folders.delivery / name, _former_sheet(name, folders)
    if former is None:
        shutil.copyfile(delivered, folders.staging / name)
        return True
    target = folders.staging / f"{sheet_class(former.name)}{METADATA_SUFFIX}"
    try:
        refuse_unsafe(former)
        changes = merge_sheets(former, delivered, target, names)
    except DatasetError as error:
        if not str(error).startswith(f"{former}: "):
            problems.append(str(error).removeprefix(f"{folders.delivery}/"))
        return False
    if changes and target.name != former.name:
        (folders.staging / former.name).unlink()
    return changes


def read_sheets(
    sheets: list[str], folders: Folders, names: dict[str, list[str]] | None, problems: list[str]
) -> list[str]:
    """Read the sheets as the stages will: a line on each, and on what of it is not used.

    What the stages would refuse is a problem. Raises DatasetError for what they refuse of data/
    already, which no other delivery mends.
    """
    told = []
    try:
        listing = list_dataset(folders.staging)
    except DatasetError:  # no pair is left, and each has said why
        return []
    for name in sheets:
        if _former_sheet(name, folders):
            delivered = folders.delivery / name
            try:
                told += delivered_losses(delivered, folders.staging, listing, names)
            except DatasetError as error:
                problem = str(error).removeprefix(f"{folders.delivery}/")
                problems += [problem] if problem not in problems else []
    origins = _read(folders.staging, listing, names)
    if origins.refused and folders.data.is_dir():
        _refuse_known(folders.data, origins.refused, names)
    problems += [f"{one.path}: {one.found}; {one.remedy}" for one in origins.refused]
    return [*told, *origins.lines, *(one.finding for one in origins.findings)]


def _read(data: Path, listing: Listing, names: dict[str, list[str]] | None) -> Origins:
    origins = read_origins(data, listing, names)
    settle_conventions(data, listing, origins, mask_files(data, listing))
    return origins


def _refuse_known(
    data: Path, refused: list[Quarantined], names: dict[str, list[str]] | None
) -> None:
    """Raise DatasetError where one of these faults is that of `data` itself."""
    try:
        listing = list_dataset(data)
    except DatasetError:  # without a pair it is of no account what its sheets say
        return
    known = _read(data, listing, names).refused
    for one in refused:
        if one in known:
            raise DatasetError(
                f"data/{one.path}: {one.found}; {one.remedy}, then run `dvc add data` and commit"
            )
