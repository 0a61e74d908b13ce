"""Names of conventions as people write them: what cannot be one, and what is one misspelt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from pipeline.conventions import STANDARD, name_problem
from pipeline.dataset.metadata.folding import letters_and_digits
from pipeline.dataset.metadata.unknown import is_unknown
from pipeline.errors import DatasetError

PART = re.compile(r"[^\W_]+")
NUMBER = re.compile(r"\d+|(?<![^\W\d_])[^\W\d_](?![^\W\d_])")
"""What numbers things: digits, and letters that stand alone."""
SEPARATORS = re.compile(r"[^a-z0-9]+")


def unusable_name(name: str) -> str:
    """What keeps `name` from being a convention's, as `found, expected; what to do`; else empty."""
    if is_unknown(name):
        return (
            f"found {name!r}, which names no convention, expected a name such as {STANDARD}; give "
            "the convention's own name"
        )
    problem = name_problem(name)
    if not problem:
        return ""
    plain = SEPARATORS.sub("-", name.casefold()).strip("-")
    usable = plain and not name_problem(plain) and not is_unknown(plain)
    return f"{problem}; {f'write {plain}' if usable else 'choose another name'}"


def misspelt_names(pairs: Mapping[str, int]) -> dict[str, str]:
    """Which of the conventions are likely others, and which; `pairs` are how many each has.

    A name is taken for a slip of a usable and more frequent one (of `standard` always) that has the
    same letters and digits but for one, or as many words and differs in one of them by one letter,
    of six letters or more by two: left out, put in, changed or swapped. Different are names that
    are numbered otherwise (v1, v2), and words with two slips that begin otherwise (include,
    exclude).
    """
    ranked = sorted(
        pairs, key=lambda name: (name != STANDARD, unusable_name(name) != "", -pairs[name], name)
    )
    likely = {
        name: next((other for other in ranked[:place] if _alike(name, other)), "")
        for place, name in enumerate(ranked)
    }
    return {name: meant for name, meant in likely.items() if meant}


def misspelling(name: str, meant: str, pairs: Mapping[str, int]) -> str:
    """That `name` is likely a slip of `meant`, as `found, expected; what to do`."""
    return (
        f"found {name!r} beside {meant!r}, which {pairs[meant]} pairs have, expected one "
        f"spelling; write {meant}, or give another convention a name that differs by more"
    )


def refuse_misspelt(
    label: str, convention: str, pairs: Mapping[str, int], *, there: bool = False
) -> None:
    """Raise DatasetError where `convention` is likely another one misspelt, or the other is.

    `pairs` are how many each would have; the message begins with `label`. One that is `there`
    before does not make it worse that others are misspelt: several cannot be mended at once.
    """
    misspelt = misspelt_names(pairs)
    if convention in misspelt:
        problem = misspelling(convention, misspelt[convention], pairs)
        raise DatasetError(f"{label}: {problem}")
    other = next((name for name, meant in misspelt.items() if meant == convention), None)
    if other is not None and not there:
        raise DatasetError(
            f"{label}: found {convention!r} beside {other!r}, which {pairs[other]} other pairs "
            f"have, expected one spelling; if {convention} is right, `lungseg data convention "
            f"{convention} --instead-of {shlex.quote(other)}`, else write {other}"
        )


def _alike(one: str, other: str) -> bool:
    bare = [letters_and_digits(name) for name in (one, other)]
    if bare[0] == bare[1]:
        return True
    folded = [name.casefold() for name in (one, other)]
    if NUMBER.findall(folded[0]) != NUMBER.findall(folded[1]):
        return False
    parts = [PART.findall(name) for name in folded]
    if len(parts[0]) != len(parts[1]):
        return slips(*bare) <= min(1, _most_slips(*bare))
    differing = [pair for pair in zip(*parts, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 and slips(*differing[0]) <= _most_slips(*differing[0])


def _most_slips(one: str, other: str) -> int:
    longer = max(len(one), len(other))
    alike = sorted(one[:2]) == sorted(other[:2])  # few people slip in how a word begins
    return 2 if longer >= 6 and alike else 1 if longer >= 4 else 0


def slips(one: str, other: str) -> int:
    """The distance of Damerau (1964): letters left out, put in, changed, or swapped neighbours."""
    above: list[int] = []
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before_last, above, row = above, row, [place]
        for column, wanted in enumerate(other, 1):
            best = min(above[column] + 1, row[-1] + 1, above[column - 1] + (letter != wanted))
            swapped = place > 1 and column > 1 and one[place - 2] == wanted
            if swapped and letter == other[column - 2]:
                best = min(best, before_last[column - 2] + 1)
            row.append(best)
    return row[-1]
