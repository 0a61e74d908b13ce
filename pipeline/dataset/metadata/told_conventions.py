"""The convention of each pair: of the recorded ones, else of the sheet, else `standard`.

What cannot be used of them stops a run: a mask under the wrong name would teach a network wrongly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.conventions import IMPORT, PERSON, SHEET, STANDARD, in_order
from pipeline.dataset.layout import (
    Listing,
    Quarantined,
    class_folders,
    conventions_class,
    list_convention_files,
    shown,
)
from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    read_convention_rows,
    second_files,
    second_of_class,
)
from pipeline.dataset.metadata.convention_names import (
    misspelling,
    misspelt_names,
    unusable_name,
)
from pipeline.dataset.metadata.origins import CONVENTION_REFUSED, Origin, Origins, some
from pipeline.errors import DatasetError
from pipeline.files import sha256_file

MaskHash = Callable[[str], str | None]
"""The SHA-256 of a pair's mask file by image_id; None of a pair that is set aside."""


class SaidConvention(NamedTuple):
    """What is said of a pair, as it is written."""

    convention: str = STANDARD
    by: str = ""
    """SHEET, IMPORT, PERSON, or nobody."""
    place: str = ""
    """The file that says so."""


def mask_files(data: Path, listing: Listing) -> MaskHash:
    """The hash of each pair's mask below `data`, made when it is asked for."""
    masks = {pair.image_id: data / pair.mask for pair in listing.pairs}
    return lambda image_id: sha256_file(masks[image_id]) if image_id in masks else None


def settle_conventions(data: Path, listing: Listing, origins: Origins, masks: MaskHash) -> None:
    """Put the convention of each pair of `listing` into `origins`, and what is wrong with them.

    What is refused is refused as `convention`, and leaves its pairs `standard`.
    """
    told = told_conventions(data, listing, origins, masks)
    wrong = _judge_names(told, origins)
    _judge_gaps(told, origins, masks)
    for image_id, one in told.items():
        known = origins.by_image_id.get(image_id, Origin())
        name, by = (STANDARD, "") if (one.convention, one.place) in wrong else one[:2]
        origins.by_image_id[image_id] = known._replace(convention=name, convention_by=by)
    _say_counts([image_id for image_id in told if masks(image_id) is not None], origins)


def told_conventions(
    data: Path, listing: Listing, origins: Origins, masks: MaskHash
) -> dict[str, SaidConvention]:
    """What is said of each pair of `listing`, unjudged; rows that do not hold are noted."""
    told = {pair.image_id: _by_sheet(pair.image_id, origins) for pair in listing.pairs}
    known = {*told, *(one.image_id for one in listing.refused)}
    classes = {folder.name for folder in class_folders(data)}
    files = list_convention_files(data)
    second = second_files(path.name for path in files)
    for path in files:
        try:
            if path.name in second:
                raise DatasetError(second_of_class(second[path.name]))
            rows = _rows_of_class(path, classes, known)
        except DatasetError as error:
            _refuse(shown(path.name), str(error).removeprefix(f"{shown(str(path))}: "), origins)
        else:
            held = _holding(path.name, rows, masks, origins)
            held = {image_id: one for image_id, one in held.items() if image_id in told}
            _note_overruled(path.name, told, held, origins)
            told.update(held)
    return told


def _note_overruled(
    label: str,
    told: Mapping[str, SaidConvention],
    held: Mapping[str, SaidConvention],
    origins: Origins,
) -> None:
    """Note what an import recorded otherwise than the sheet says; a person's word needs no note."""
    overruled = [
        (image_id.partition("/")[2], told[image_id].place)
        for image_id, one in held.items()
        if one.by == IMPORT
        and told[image_id].by == SHEET
        and told[image_id].convention != one.convention
    ]
    if overruled:
        names = [name for name, _ in overruled]
        what = f"recorded by an import otherwise than {overruled[0][1]} says: {len(names)}"
        remedy = "if the sheet is right, record it with `lungseg data convention NAME PAIR`"
        origins.note(
            "overruled_conventions", len(names), f"{label}: {what} ({some(names)}); {remedy}"
        )


def _by_sheet(image_id: str, origins: Origins) -> SaidConvention:
    origin = origins.by_image_id.get(image_id, Origin())
    if not origin.convention_by:
        return SaidConvention()
    return SaidConvention(origin.convention, SHEET, origins.sheets[image_id.partition("/")[0]])


def _rows_of_class(
    path: Path, classes: set[str], known: set[str]
) -> dict[str, tuple[ConventionRow, bool]]:
    """The rows by image_id, each with whether there is such a pair."""
    class_name = conventions_class(path.name)
    if class_name not in classes:
        raise DatasetError("there is no class of this name; rename or remove the file")
    rows = {f"{class_name}/{row.name}": row for row in read_convention_rows(path)}
    found = {image_id: (row, image_id in known) for image_id, row in rows.items()}
    if rows and not any(there for _, there in found.values()):
        raise DatasetError(
            f"none of its {len(rows)} rows names a pair of the class: found "
            f"{some([row.name for row in rows.values()])}; correct or remove the file"
        )
    return found


def _holding(
    label: str,
    rows: Mapping[str, tuple[ConventionRow, bool]],
    masks: MaskHash,
    origins: Origins,
) -> dict[str, SaidConvention]:
    """The rows that hold; those of no pair, and those whose mask has other bytes, are noted."""
    found, stale = {}, []
    for image_id, (row, there) in rows.items():
        sha256 = masks(image_id) if there else None
        if sha256 == row.mask_sha256:
            found[image_id] = SaidConvention(row.convention, row.by, label)
        elif sha256 is not None:
            stale.append(row.name)
    lost = [row.name for row, there in rows.values() if not there]
    if stale:
        remedy = "look at them and record theirs with `lungseg data convention NAME PAIR`"
        what = f"recorded for masks that changed since: {len(stale)} ({some(stale)})"
        origins.note("stale_conventions", len(stale), f"{label}: {what}, not used; {remedy}")
    if lost:
        what = f"rows that name no pair: {len(lost)} ({some(lost)})"
        origins.note(
            "conventions_without_pair",
            len(lost),
            f"{label}: {what}; remove them, as an import does",
        )
    return found


def _refuse(place: str, message: str, origins: Origins) -> None:
    origins.refused.append(Quarantined.of_message("", place, "convention", message))
    origins.note(CONVENTION_REFUSED, 1, f"{place}: {message}")


def _judge_names(told: Mapping[str, SaidConvention], origins: Origins) -> set[tuple[str, str]]:
    """Refuse names that cannot be used; returns them, each with the file that says it."""
    pairs = Counter(one.convention for one in told.values())
    said = Counter((one.convention, one.place) for one in told.values())
    misspelt = misspelt_names(pairs)
    wrong = set()
    for (name, place), count in sorted(said.items()):
        meant = misspelt.get(name, "")
        problem = misspelling(name, meant, pairs) if meant else unusable_name(name)
        if problem:
            wrong.add((name, place))
            _refuse(place, f"{count} pairs: {problem}", origins)
    return wrong


def _judge_gaps(told: Mapping[str, SaidConvention], origins: Origins, masks: MaskHash) -> None:
    """Refuse a column of conventions that is empty for some radiographs of its class.

    Of a pair that is set aside nothing is asked: no mask, no convention.
    """
    by_sheet: Counter[str] = Counter()
    untold: dict[str, list[str]] = defaultdict(list)
    for image_id, one in told.items():
        class_name, _, name = image_id.partition("/")
        by_sheet[class_name] += one.by == SHEET
        if class_name in origins.telling and not one.by and masks(image_id) is not None:
            untold[class_name].append(name)
    for class_name, names in untold.items():
        complete = "complete the column" if by_sheet[class_name] else "complete or remove it"
        _refuse(
            origins.sheets[class_name],
            f"its column of conventions says that of {by_sheet[class_name]} radiographs, of "
            f"{len(names)} of the class nothing ({some(names)}), expected one for each; "
            f"{complete}, or record theirs with `lungseg data convention NAME PAIR`, an import's "
            "with --convention NAME",
            origins,
        )


def _say_counts(image_ids: Sequence[str], origins: Origins) -> None:
    """A line on the conventions of these pairs, where one is not `standard`."""
    pairs = Counter(origins.by_image_id[image_id].convention for image_id in image_ids)
    if set(pairs) <= {STANDARD}:
        return
    by = Counter(origins.by_image_id[image_id].convention_by for image_id in image_ids)
    names = ", ".join(f"{name} {pairs[name]}" for name in in_order(pairs))
    words = ", ".join(f"{one} {by[one]}" for one in (SHEET, IMPORT, PERSON) if by[one])
    origins.lines.append(f"conventions: {names} (said by: {words})")
