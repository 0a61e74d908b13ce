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
    class_folders,
    same_name,
    sheet_class,
)
from pipeline.dataset.spellings import plain_stem


def class_problems(delivery: DeliveryListing, present: Path) -> list[str]:
    """What is wrong with the delivered classes beside those of `present`, and with their sheets."""
    existing = [folder.name for folder in class_folders(present)] if present.is_dir() else []
    by_key = {same_name(name): name for name in existing}
    problems = [
        f"{name}: data/ calls this class {by_key[same_name(name)]}; rename the delivered folder"
        for name in delivery.classes
        if by_key.get(same_name(name), name) != name
    ]
    problems += [f"{name}: {long}" for name in delivery.classes if (long := _too_long(name))]
    known = {*existing, *delivery.classes}
    sheets = Counter(sheet_class(sheet) for sheet in delivery.sheets)
    problems += [
        f"{name}: has {count} metadata sheets; join them"
        for name, count in sheets.items()
        if count > 1
    ]
    return problems + [
        f"{sheet}: there is no class {sheet_class(sheet)}; rename the sheet"
        for sheet in delivery.sheets
        if sheet_class(sheet) not in known
    ]


def named_as_in_data(delivery: DeliveryListing, present: Path) -> DeliveryListing:
    """The delivery with its pairs named as in `present`, whose names may be of other bytes.

    A Mac parts letters from their accents, which is one name; those that differ by case, or are too
    long, are problems.
    """
    found = replace(delivery, pairs=[], problems=[*delivery.problems])
    known = {name: _spellings(present / name) for name in delivery.classes}
    for one in delivery.pairs:
        name, own = one.pair.name, known[one.pair.class_name]
        keys = (name, plain_stem(name), same_name(name))
        there = next((own[key] for key in keys if key in own), name)
        if plain_stem(there) == plain_stem(name):
            one = replace(one, pair=replace(one.pair, name=there))
        else:
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
