"""Delivered names beside those of data/: the same, only nearly so, or too long for data/."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.dataset.delivery.listing import DeliveryListing
from pipeline.dataset.delivery.pairing import shown_path
from pipeline.dataset.layout import (
    IMAGES,
    LONGEST_NAME,
    MASKS,
    Pair,
    class_folders,
    same_name,
    sheet_class,
)
from pipeline.dataset.spellings import plain_stem, spelt_as


def class_problems(delivery: DeliveryListing, present: Path) -> list[str]:
    """What is wrong with the delivered classes beside those of `present`, and with their sheets."""
    existing = _classes(present)
    by_key = {same_name(name): name for name in existing}
    problems = [
        f"{name}: data/ calls this class {by_key[same_name(name)]}; rename the delivered folder"
        for name in delivery.classes
        if name not in existing and same_name(name) in by_key
    ]
    problems += [f"{name}: {long}" for name in delivery.classes if (long := _too_long(name))]
    known = [*existing, *delivery.classes]
    of_sheet = {sheet: spelt_as(sheet_class(sheet) or "", known) for sheet in delivery.sheets}
    problems += [
        f"{name}: has {count} metadata sheets; join them"
        for name, count in Counter(of_sheet.values()).items()
        if count > 1
    ]
    return problems + [
        f"{sheet}: there is no class {name}; rename the sheet"
        for sheet, name in of_sheet.items()
        if name not in known
    ]


def _classes(present: Path) -> list[str]:
    return [folder.name for folder in class_folders(present)] if present.is_dir() else []


def named_as_in_data(delivery: DeliveryListing, present: Path) -> DeliveryListing:
    """The delivery with classes and pairs named as in `present`, whose names may be of other bytes.

    A Mac parts letters from their accents, which is one name; those that differ by case, or are too
    long, are problems.
    """
    found = replace(delivery, pairs=[], problems=[*delivery.problems])
    existing = _classes(present)
    classes = {name: spelt_as(name, existing) for name in delivery.classes}
    known = {name: _spellings(present / name) for name in classes.values()}
    for one in delivery.pairs:
        name, class_name = one.pair.name, classes[one.pair.class_name]
        own = known[class_name]
        keys = (name, plain_stem(name), same_name(name))
        there = next((own[key] for key in keys if key in own), name)
        same = plain_stem(there) == plain_stem(name)
        one = replace(one, pair=Pair(class_name, there if same else name))
        if not same:
            found.problems.append(
                f"{shown_path(one.image)}: data/ has {there} in this class, expected names that "
                f"differ by more than case; name the pair {there} if it is the same, else rename it"
            )
        if long := _too_long(f"{one.pair.name}.png"):
            found.problems.append(f"{shown_path(one.image)}: {long}")
        found.pairs.append(one)
    return found


def _too_long(name: str) -> str:
    """What is wrong with a name that is too long for data/, else ""."""
    length = len(name.encode())
    if length <= LONGEST_NAME:
        return ""
    return f"gives a name of {length} bytes, expected at most {LONGEST_NAME}; shorten it"


def _spellings(folder: Path) -> dict[str, str]:
    """The names of a class of data/ by themselves, by their letters, and by those in any case."""
    names = {path.stem for half in (IMAGES, MASKS) for path in (folder / half).glob("*")}
    return {key(name): name for key in (same_name, plain_stem, str) for name in sorted(names)}
