"""Whether a delivery differs from what was there before: another annotator, another scanner.

Two quantities of a class tell: how large its lungs are drawn, and how bright its radiographs are.
Each is compared with the dataset's previous version and with the other classes, lung areas only
among masks of one annotation convention. A shift is a
difference in robust standard deviations of the reference (Glass's Δ, Glass 1976, with 1.4826 · MAD
for the standard deviation, Rousseeuw and Croux 1993), so a class that varies much does not hide its
own shift, and a few odd pairs neither make nor mask one.

Measured: normal against tuberculous lungs of one annotation, area 0.7 and intensity 0.7; masks of
another convention, area 1.8 (as a class of its own) and 2.4 (added to a class); two hospitals,
intensity 2.0 to 2.9; synthetic classes of 25, area 0.4 and intensity 1.0; 10 pairs drawn from the
same class, 99 in 100 below 0.9 and 1.2. The limits in params.yaml lie between.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, NamedTuple

import pandas as pd

from pipeline.dataset.validation.populations import QUANTITIES, Population, Populations, Profile
from pipeline.params import ValidateParams
from pipeline.table_files import columns_of, table_of

Against = Literal["previous version", "other classes"]
PREVIOUS_VERSION: Against = "previous version"
OTHER_CLASSES: Against = "other classes"
ENOUGH = 10
"""Fewer pairs than this are not compared: a median of 10 lung areas strays by 1 sd once in 100."""


@dataclass(frozen=True)
class ShiftRow:
    """How one quantity of one class differs from what it is compared with."""

    subject: str
    """A sentence, unique in its table."""
    class_name: str
    convention: str
    """Of the masks, where the dataset has several and the quantity is of masks; else empty."""
    quantity: str
    against: str
    """PREVIOUS_VERSION or OTHER_CLASSES."""
    found: float
    reference: float
    """Both lung area 0..1 or intensity 0..255."""
    shift: float
    """found - reference in robust standard deviations of the reference."""
    remedy: str
    """What to do if the shift stands out; may be empty."""


SHIFT_COLUMNS = columns_of(ShiftRow)


class _Sample(NamedTuple):
    """What a comparison needs of some pairs."""

    n: int
    centre: float
    spread: float = 0.0


def shift_table(manifest: pd.DataFrame, previous: Profile) -> pd.DataFrame:
    """Compare every class with the `previous` version and with the other classes together.

    Lung areas are compared within an annotation convention, so a class of several has a row for
    each. A ShiftRow per class, quantity and comparison for which both have ENOUGH pairs.
    """
    kept, told = previous.has(manifest["image_sha256"]), bool(previous.radiographs)
    manifest = manifest.assign(kept=kept, added=~kept & told)
    rows = []
    for compared in (*_of_areas(manifest, previous), *_of_intensities(manifest, previous)):
        against_previous = _compare_previous(compared)
        subject = replace(compared.subject, against=OTHER_CLASSES)
        against_others = _compare_medians(subject, compared.now, compared.others)
        rows += [row for row in (against_previous, against_others) if row]
    order = list(QUANTITIES)
    rows.sort(key=lambda row: (row.class_name, row.convention, order.index(row.quantity)))
    return table_of(rows, SHIFT_COLUMNS)


@dataclass(frozen=True)
class _Subject:
    """What is compared."""

    class_name: str
    quantity: str
    convention: str = ""
    """Of its masks, where the dataset has several and they matter."""
    against: Against = PREVIOUS_VERSION
    note: str = ""
    """In brackets behind the name of the class."""
    added: bool = False
    """Whether only what the previous version lacks is compared."""


@dataclass(frozen=True)
class _Compared:
    """One quantity of one class, and what it is compared with."""

    subject: _Subject
    now: Population
    added: Population
    """Its pairs whose radiographs the previous version lacks; none where that cannot tell."""
    there_before: bool
    """Whether the previous version has any of its radiographs, so far as that can tell."""
    others: Population
    """The other classes."""
    before: Populations | None
    """The previous version; None where it has nothing alike."""


def _of_areas(manifest: pd.DataFrame, previous: Profile) -> Iterator[_Compared]:
    """What is compared within each convention, as masks of two are not alike."""
    several = manifest["convention"].nunique() > 1
    for convention, alike in manifest.groupby("convention"):
        before, shown = previous.within(str(convention)), str(convention) if several else ""
        yield from _of_classes(alike, "lung_area", before, shown)


def _of_intensities(manifest: pd.DataFrame, previous: Profile) -> Iterator[_Compared]:
    """What has nothing to do with masks."""
    yield from _of_classes(manifest, "intensity", previous.whole, "")


def _of_classes(
    manifest: pd.DataFrame, quantity: str, before: Populations | None, convention: str
) -> Iterator[_Compared]:
    for name, pairs in manifest.groupby("class_name"):
        now, added, others = (
            Population.of(rows)
            for rows in (pairs, pairs[pairs["added"]], manifest[manifest["class_name"] != name])
        )
        subject = _Subject(str(name), quantity, convention)
        yield _Compared(subject, now, added, bool(pairs["kept"].any()), others, before)


def _compare_previous(compared: _Compared) -> ShiftRow | None:
    if compared.before is None:
        return None
    subject, now, added = compared.subject, compared.now, compared.added
    before = compared.before.classes.get(subject.class_name)
    if before is None:
        note = "new in this convention" if compared.there_before else "new"
        subject = replace(subject, note=note, added=not compared.there_before)
        return _compare_medians(subject, now, compared.before.all)
    if added.n < ENOUGH:
        return _compare_medians(subject, now, before)
    # The class as a whole moves little when it gets a few pairs of another kind. Means, which move
    # also when a minority of what was added is of another kind.
    found, reference = (one.distribution(subject.quantity) for one in (added, before))
    return _compare(
        replace(subject, note=f"{added.n} added", added=True),
        _Sample(added.n, found.mean),
        _Sample(before.n, reference.mean, reference.spread),
    )


def _compare_medians(subject: _Subject, now: Population, reference: Population) -> ShiftRow | None:
    found, expected = (one.distribution(subject.quantity) for one in (now, reference))
    return _compare(
        subject,
        _Sample(now.n, found.median),
        _Sample(reference.n, expected.median, expected.spread),
    )


def _compare(subject: _Subject, now: _Sample, reference: _Sample) -> ShiftRow | None:
    if min(now.n, reference.n) < ENOUGH:
        return None
    kind = QUANTITIES[subject.quantity]
    numbers = f"{now.centre:.{kind.digits}f} against {reference.centre:.{kind.digits}f}"
    notes = ", ".join(note for note in (subject.convention, subject.note) if note)
    name = f"{subject.class_name} ({notes})" if notes else subject.class_name
    return ShiftRow(
        subject=f"{name}: {kind.words} {numbers} in the {subject.against}",
        class_name=subject.class_name,
        convention=subject.convention,
        quantity=subject.quantity,
        against=subject.against,
        found=now.centre,
        reference=reference.centre,
        shift=(now.centre - reference.centre) / max(reference.spread, kind.least_spread),
        remedy=_remedy(subject) if subject.quantity == "lung_area" else "",
    )


def _remedy(subject: _Subject) -> str:
    """The command that records the masks as of another convention."""
    new = " --new" if subject.added else ""
    now = f" --instead-of {subject.convention}" if subject.convention else ""
    return (
        "if these masks are drawn to another convention, name it: `lungseg data convention NAME"
        f"{new} --class {shlex.quote(subject.class_name)}{now}`"
    )


def shift_limit(quantity: str, params: ValidateParams) -> float:
    """The shift beyond which a quantity stands out, in robust standard deviations."""
    limit: float = getattr(params, QUANTITIES[quantity].limit)
    return limit


def shift_sentence(subject: str, means: str, remedy: str) -> str:
    """What a person is told of a shift beyond its limit; `means` is of its expectation."""
    return "; ".join(part for part in (subject, means, remedy) if part)


def shift_expectations(params: ValidateParams) -> list[Any]:
    """What Great Expectations expects of a shift table; a shift is a warning, never critical."""
    return [
        _expect(quantity, against, shift_limit(quantity, params))
        for quantity, against in product(QUANTITIES, (PREVIOUS_VERSION, OTHER_CLASSES))
    ]


def _expect(quantity: str, against: Against, limit: float) -> Any:
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    kind = QUANTITIES[quantity]
    means = f"{kind.words} shifted beyond validate.{kind.limit}={limit:g} ({kind.suspicion})"
    return gxe.ExpectColumnValuesToBeBetween(
        column="shift",
        min_value=-limit,
        max_value=limit,
        row_condition=(Column("quantity") == quantity) & (Column("against") == against),
        severity="warning",
        meta={"means": means},
    )
