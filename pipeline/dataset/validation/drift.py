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

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.params import ValidateParams

PREVIOUS = "data.previous.json"
"""In the project's root, known to git: the profile of the dataset's version before this one."""

Against = Literal["previous version", "other classes"]
PREVIOUS_VERSION: Against = "previous version"
OTHER_CLASSES: Against = "other classes"
ENOUGH = 10
"""Fewer pairs than this are not compared: a median of 10 lung areas strays by 1 sd once in 100."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLUMNS = ["subject", "class_name", "quantity", "against", "found", "reference", "shift"]


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


def profile(manifest: pd.DataFrame) -> dict[str, Any]:
    """What a later version is compared with: of all pairs and of each class, as plain JSON.

    `n` pairs and, of each quantity, mean, median, robust spread and quantiles: lung area as a share
    of the mask, intensity as the mean grey value, 0..255. Empty without pairs.
    """
    if manifest.empty:
        return {}
    classes = {str(name): _describe(rows) for name, rows in manifest.groupby("class_name")}
    return {"all": _describe(manifest), "classes": classes}


def _describe(pairs: pd.DataFrame) -> dict[str, Any]:
    summaries = {name: _summarise(pairs[one.column]) for name, one in QUANTITIES.items()}
    return {"n": len(pairs), **summaries}


def _summarise(values: pd.Series[float]) -> dict[str, Any]:
    median = values.median()
    spread = 1.4826 * (values - median).abs().median()
    quantiles: list[float] = np.quantile(values, QUANTILES).tolist() if len(values) else []
    return {
        "mean": round(float(values.mean()), 6),
        "median": round(float(median), 6),
        "spread": round(float(spread), 6),
        "quantiles": [round(value, 6) for value in quantiles],
    }


def shift_table(manifest: pd.DataFrame, previous: dict[str, Any]) -> pd.DataFrame:
    """Compare every class with the `previous` profile and with the other classes together.

    A row per class, quantity and comparison for which both sides have ENOUGH pairs: subject (one
    sentence, unique), class_name, quantity, against, found and reference (lung area 0..1, intensity
    0..255), and shift, (found - reference) in robust standard deviations of the reference.
    """
    rows = []
    for name, pairs in manifest.groupby("class_name"):
        now, others = _describe(pairs), _describe(manifest[manifest["class_name"] != name])
        for quantity, against in product(QUANTITIES, (PREVIOUS_VERSION, OTHER_CLASSES)):
            if against == OTHER_CLASSES:
                row = _compare(str(name), quantity, against, now, others)
            else:
                row = _compare_previous(str(name), quantity, now, previous)
            rows.extend([{"class_name": name, **row}] if row else [])
    numbers = {"found": float, "reference": float, "shift": float}
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)


def _compare_previous(
    name: str, quantity: str, now: dict[str, Any], previous: dict[str, Any]
) -> dict[str, Any] | None:
    if not previous:
        return None
    before = previous["classes"].get(name)
    if before is None:
        return _compare(f"{name} (new)", quantity, PREVIOUS_VERSION, now, previous["all"])
    added = now["n"] - before["n"]
    if added < ENOUGH:
        return _compare(name, quantity, PREVIOUS_VERSION, now, before)
    # The class as a whole moves little when it gets a few pairs of another kind; what was added
    # follows from counts and means. Means for both sides, then: medians cannot be subtracted.
    total = now["n"] * now[quantity]["mean"] - before["n"] * before[quantity]["mean"]
    addition = {"n": added, quantity: {"median": total / added}}
    reference = {"n": before["n"], quantity: _centred_on_mean(before[quantity])}
    return _compare(f"{name} ({added} added)", quantity, PREVIOUS_VERSION, addition, reference)


def _centred_on_mean(summary: dict[str, Any]) -> dict[str, Any]:
    return {**summary, "median": summary["mean"]}


def _compare(
    subject: str, quantity: str, against: Against, now: dict[str, Any], reference: dict[str, Any]
) -> dict[str, Any] | None:
    if min(now["n"], reference["n"]) < ENOUGH:
        return None
    kind = QUANTITIES[quantity]
    found, expected = now[quantity]["median"], reference[quantity]["median"]
    numbers = f"{found:.{kind.digits}f} against {expected:.{kind.digits}f}"
    return {
        "subject": f"{subject}: {kind.words} {numbers} in the {against}",
        "quantity": quantity,
        "against": against,
        "found": found,
        "reference": expected,
        "shift": (found - expected) / max(reference[quantity]["spread"], kind.least_spread),
    }


def shift_expectations(params: ValidateParams) -> list[Any]:
    """What Great Expectations expects of a shift table; a shift is a warning, never critical."""
    return [
        _expect(quantity, against, getattr(params, QUANTITIES[quantity].limit))
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
