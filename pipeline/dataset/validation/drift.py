"""Whether a delivery differs from what was there before: another annotator, another scanner.

Two quantities of a class tell: how large its lungs are drawn, and how bright its radiographs are.
Each is compared with the dataset's previous version and with the other classes. A shift is a
difference in robust standard deviations of the reference (Glass's Δ, Glass 1976, with 1.4826 · MAD
for the standard deviation, Rousseeuw and Croux 1993), so a class that varies much does not hide its
own shift, and a few odd pairs neither make nor mask one.

Measured: normal against tuberculous lungs of one annotation, area 0.7 and intensity 0.7; masks of
another convention, area 1.8 (as a class of its own) and 2.4 (added to a class); two hospitals,
intensity 2.0 to 2.9; synthetic classes of 25, area 0.4 and intensity 1.0; 10 pairs drawn from the
same class, 99 in 100 below 0.9 and 1.2. The limits in params.yaml lie between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.artifacts import Artifact, StrictModel
from pipeline.files import write_json
from pipeline.params import ValidateParams
from pipeline.table_files import columns_of, table_of

PREVIOUS = "data.previous.json"
"""In the project's root, known to git: the profile of the dataset's version before this one."""

Against = Literal["previous version", "other classes"]
PREVIOUS_VERSION: Against = "previous version"
OTHER_CLASSES: Against = "other classes"
ENOUGH = 10
"""Fewer pairs than this are not compared: a median of 10 lung areas strays by 1 sd once in 100."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Quantity:
    """What is compared of the pairs."""

    column: str
    """Its column of the manifest."""
    words: str
    least_spread: float
    """A smaller robust standard deviation counts as this: equal masks are no reason to divide by
    zero. Those of real classes are 0.05 to 0.11 (lung area) and 12 to 22 (intensity)."""
    digits: int
    limit: str
    """Its key in the section validate of params.yaml."""
    suspicion: str


QUANTITIES = {
    "lung_area": Quantity(
        "lung_area", "lung area", 0.01, 3, "max_area_shift", "another annotation convention?"
    ),
    "intensity": Quantity(
        "mean", "intensity", 1.0, 0, "max_intensity_shift", "another scanner or exposure?"
    ),
}


class Distribution(StrictModel):
    """Of one quantity of some pairs: lung area as a share of the mask, intensity 0..255."""

    mean: float
    median: float
    spread: float
    """Robust standard deviation."""
    quantiles: tuple[float, ...]
    """Those of QUANTILES; none without pairs."""


class Population(StrictModel):
    """Some pairs, all or those of a class."""

    n: int
    """Pairs."""
    lung_area: Distribution
    intensity: Distribution

    @classmethod
    def of(cls, pairs: pd.DataFrame) -> Self:
        """Of rows of the manifest."""
        return cls(
            n=len(pairs),
            **{name: _distribution(pairs[one.column]) for name, one in QUANTITIES.items()},
        )

    def distribution(self, quantity: str) -> Distribution:
        """Of a quantity by its name in QUANTITIES."""
        found: Distribution = getattr(self, quantity)
        return found


def _distribution(values: pd.Series[float]) -> Distribution:
    median = values.median()
    spread = 1.4826 * (values - median).abs().median()
    quantiles: list[float] = np.quantile(values, QUANTILES).tolist() if len(values) else []
    return Distribution(
        mean=round(float(values.mean()), 6),
        median=round(float(median), 6),
        spread=round(float(spread), 6),
        quantiles=tuple(round(value, 6) for value in quantiles),
    )


class Profile(Artifact):
    """data.previous.json: what a version of the dataset is compared with; empty for a first one."""

    made_by: ClassVar[str] = "`lungseg data import`"
    remedy: ClassVar[str] = f"bring it back with `git checkout {PREVIOUS}`"

    all: Population | None = None
    classes: dict[str, Population] = Field(default_factory=dict)

    @classmethod
    def of(cls, manifest: pd.DataFrame) -> Self:
        """Of all pairs and of each class; empty without pairs."""
        if manifest.empty:
            return cls()
        classes = {str(name): Population.of(rows) for name, rows in manifest.groupby("class_name")}
        return cls(all=Population.of(manifest), classes=classes)

    def write(self, path: Path) -> None:
        """Write it as stable, readable JSON: {} for an empty one."""
        write_json(path, self.model_dump(mode="json", exclude_defaults=True))


def read_previous(project: Path) -> Profile:
    """The profile in data.previous.json below `project`, an empty one where there is no such file.

    Raises StageError when the file holds anything else.
    """
    path = project / PREVIOUS
    return Profile.read(path) if path.exists() else Profile()


@dataclass(frozen=True)
class ShiftRow:
    """How one quantity of one class differs from what it is compared with."""

    subject: str
    """A sentence, unique in its table."""
    class_name: str
    quantity: str
    against: str
    """PREVIOUS_VERSION or OTHER_CLASSES."""
    found: float
    reference: float
    """Both lung area 0..1 or intensity 0..255."""
    shift: float
    """found - reference in robust standard deviations of the reference."""


SHIFT_COLUMNS = columns_of(ShiftRow)


class _Sample(NamedTuple):
    """What a comparison needs of some pairs."""

    n: int
    centre: float
    spread: float = 0.0


def shift_table(manifest: pd.DataFrame, previous: Profile) -> pd.DataFrame:
    """Compare every class with the `previous` version and with the other classes together.

    A ShiftRow per class, quantity and comparison for which both have ENOUGH pairs.
    """
    rows = []
    for name, pairs in manifest.groupby("class_name"):
        now = Population.of(pairs)
        others = Population.of(manifest[manifest["class_name"] != name])
        for quantity, against in product(QUANTITIES, (PREVIOUS_VERSION, OTHER_CLASSES)):
            if against == OTHER_CLASSES:
                row = _compare_medians(_Subject(str(name), quantity, against), now, others)
            else:
                row = _compare_previous(str(name), quantity, now, previous)
            rows.extend([row] if row else [])
    return table_of(rows, SHIFT_COLUMNS)


@dataclass(frozen=True)
class _Subject:
    """What is compared."""

    class_name: str
    quantity: str
    against: Against
    note: str = ""
    """In brackets behind the name of the class."""


def _compare_previous(
    name: str, quantity: str, now: Population, previous: Profile
) -> ShiftRow | None:
    if previous.all is None:
        return None
    subject = _Subject(name, quantity, PREVIOUS_VERSION)
    before = previous.classes.get(name)
    if before is None:
        return _compare_medians(replace(subject, note=" (new)"), now, previous.all)
    added = now.n - before.n
    if added < ENOUGH:
        return _compare_medians(subject, now, before)
    # The class as a whole moves little when it gets a few pairs of another kind; what was added
    # follows from counts and means. Means for both, then: medians cannot be subtracted.
    found, reference = now.distribution(quantity), before.distribution(quantity)
    addition = (now.n * found.mean - before.n * reference.mean) / added
    return _compare(
        replace(subject, note=f" ({added} added)"),
        _Sample(added, addition),
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
    name = f"{subject.class_name}{subject.note}"
    return ShiftRow(
        subject=f"{name}: {kind.words} {numbers} in the {subject.against}",
        class_name=subject.class_name,
        quantity=subject.quantity,
        against=subject.against,
        found=now.centre,
        reference=reference.centre,
        shift=(now.centre - reference.centre) / max(reference.spread, kind.least_spread),
    )


def shift_limit(quantity: str, params: ValidateParams) -> float:
    """The shift beyond which a quantity stands out, in robust standard deviations."""
    limit: float = getattr(params, QUANTITIES[quantity].limit)
    return limit


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
