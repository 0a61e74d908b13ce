"""What an import does to recorded conventions: it keeps those of masks that stay, and adds its own.

A row counts for the bytes of its mask, so one whose mask the delivery changed is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pipeline.conventions import IMPORT, PERSON
from pipeline.dataset.delivery.listing import DeliveryListing
from pipeline.dataset.delivery.staging import Folders
from pipeline.dataset.layout import Pair, conventions_class, list_dataset
from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    read_convention_rows,
    recorded_conventions,
    second_files,
    second_of_class,
    write_recorded,
)
from pipeline.dataset.metadata.convention_names import refuse_misspelt
from pipeline.dataset.metadata.origins import read_origins, some
from pipeline.dataset.metadata.told_conventions import mask_files, told_conventions
from pipeline.dataset.spellings import plain_stem
from pipeline.errors import DatasetError
from pipeline.files import sha256_file

Recorded = dict[str, ConventionRow]
"""By image_id."""


class Carried(NamedTuple):
    """What was done."""

    changed: bool
    """Whether the files in the stage differ from those that were there."""
    told: list[str]
    """A line on each thing that a person may want to know."""


def refuse_option(
    convention: str,
    delivery: DeliveryListing,
    staging: Path,
    names: dict[str, list[str]] | None,
) -> None:
    """Raise DatasetError where the staged pairs cannot be of `convention`, as the import is told.

    It is likely another one misspelt, or the sheets say another. `names` are headers by role.
    """
    try:
        listing = list_dataset(staging)
    except DatasetError:  # no pair is left, and each has said why
        return
    origins = read_origins(staging, listing, names)
    own = sorted({one.pair.image_id for one in delivery.pairs} & origins.by_image_id.keys())
    said = [(image_id, origins.by_image_id[image_id]) for image_id in own]
    other = [
        image_id for image_id, one in said if one.convention_by and one.convention != convention
    ]
    if other:
        found = origins.by_image_id[other[0]].convention
        raise DatasetError(
            f"--convention: found {convention!r}, and a metadata sheet says another one of "
            f"{len(other)} delivered pairs ({some(other)}: {found!r}), expected one word on each; "
            "leave the option out, or correct the sheet"
        )
    told = told_conventions(staging, listing, origins, mask_files(staging, listing))
    after = {image_id: one.convention for image_id, one in told.items()}
    after.update(dict.fromkeys((one.pair.image_id for one in delivery.pairs), convention))
    refuse_misspelt("--convention", convention, Counter(after.values()))


def carry_conventions(
    delivery: DeliveryListing,
    folders: Folders,
    former: Path,
    convention: str | None,
    problems: list[str],
) -> Carried:
    """Write the conventions of the staged pairs; `former` is the data/ that was before.

    Those come from `former`, from the files of the delivery, and, where no person says another,
    from `convention`. Raises DatasetError for a damaged file of `former`.
    """
    staging, told = folders.staging, []
    known, dropped = _holding(recorded_conventions(former), staging)
    if dropped["changed"]:
        told.append(f"conventions dropped, as the mask changed: {dropped['changed']}")
    if dropped["gone"]:
        told.append(f"conventions dropped, as the pair is gone: {dropped['gone']}")
    brought, idle = _delivered(delivery, staging, problems)
    if count := idle.total():
        told.append(f"delivered conventions that are of no delivered mask, not used: {count}")
    if brought:
        words = f"{len(_persons(brought))} of them by a person"
        told.append(f"conventions that the delivery's own files record: {len(brought)}, {words}")
    _refuse_contradictions(known, brought, problems)
    recorded = {**brought, **known, **_persons(brought)}
    if convention is not None:
        told += _record(delivery, staging, convention, recorded)
    return Carried(write_recorded(staging, recorded), told)


def _holding(recorded: Mapping[str, ConventionRow], staging: Path) -> tuple[Recorded, Counter[str]]:
    """The rows of masks that are there with their bytes, and how many are not, by reason."""
    held, dropped = {}, Counter[str]()
    for image_id, row in recorded.items():
        mask = staging / _pair(image_id).mask
        if not mask.is_file():
            dropped["gone"] += 1
        elif sha256_file(mask) != row.mask_sha256:
            dropped["changed"] += 1
        else:
            held[image_id] = row
    return held, dropped


def _pair(image_id: str) -> Pair:
    class_name, _, name = image_id.partition("/")
    return Pair(class_name, name)


def _delivered(
    delivery: DeliveryListing, staging: Path, problems: list[str]
) -> tuple[Recorded, Counter[str]]:
    """The rows that hold of the files that the delivery brings, and how many do not."""
    rows: Recorded = {}
    own = {one.pair.image_id for one in delivery.pairs}
    named = {plain_stem(image_id): image_id for image_id in own}
    for second, first in second_files(delivery.conventions).items():
        problems.append(f"{second}: {second_of_class(first)}")
    for name in delivery.conventions:
        try:
            found = read_convention_rows(delivery.root / name)
        except DatasetError as error:
            problems.append(str(error).removeprefix(f"{delivery.root}/"))
        else:
            for row in found:
                image_id = f"{conventions_class(name)}/{row.name}"
                image_id = named.get(plain_stem(image_id), image_id)
                rows[image_id] = replace(row, name=_pair(image_id).name)
    held, dropped = _holding({one: row for one, row in rows.items() if one in own}, staging)
    dropped["other"] = len(rows.keys() - own)
    return held, dropped


def _persons(recorded: Recorded) -> Recorded:
    return {image_id: row for image_id, row in recorded.items() if row.by == PERSON}


def _refuse_contradictions(known: Recorded, brought: Recorded, problems: list[str]) -> None:
    problems += [
        f"{image_id}: data/ records the convention {known[image_id].convention}, the delivery "
        f"{row.convention}; correct one of them"
        for image_id, row in brought.items()
        if image_id in known and known[image_id].convention != row.convention
    ]


def _record(
    delivery: DeliveryListing, staging: Path, convention: str, recorded: Recorded
) -> list[str]:
    """Record `convention` for what is delivered; lines on what that changes and what stays."""
    before: Counter[str] = Counter()
    count, kept = 0, 0
    for image_id in (one.pair.image_id for one in delivery.pairs):
        mask, row = staging / _pair(image_id).mask, recorded.get(image_id)
        if row and row.by == PERSON:
            kept += row.convention != convention
        elif mask.is_file():  # one with a problem was not staged
            count += 1
            before.update([row.convention] if row and row.convention != convention else [])
            name = _pair(image_id).name
            recorded[image_id] = ConventionRow(name, sha256_file(mask), convention, IMPORT)
    were = "".join(f", {number} of them {name} before" for name, number in sorted(before.items()))
    lines = [f"convention {convention}: recorded for {count} delivered pairs{were}"]
    return [*lines, *([f"convention kept as a person says: {kept} pairs"] if kept else [])]
