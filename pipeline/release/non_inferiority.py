"""Whether a candidate is worse than a release, on the same test radiographs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pandas as pd

from pipeline.evaluation.intervals import MIN_GROUPS, lower_bound
from pipeline.release.champion import Reference
from pipeline.release.scored_conventions import ASKED, CONVENTION, asked_conventions
from pipeline.release.verdict import Check

LEVEL = 0.05
"""One-sided: an inferior candidate passes this often."""

Rule = Literal["resampled", "point"]


def non_inferiority_checks(
    name: str, reference: Reference, per_image: pd.DataFrame, margin: float, rule: Rule
) -> Iterator[Check]:
    """Compare mean Dice overall, in each class and, where there are several, in each convention.

    `name` is what the release is called. A release that does not know a convention answers to its
    radiographs in the one that it does best in. What the candidate gains there must not hide a loss
    elsewhere, so they count in the check of that convention alone, which says so.

    Resampled: the gain must exceed -`margin` in 95 % of the resamples of groups (one-sided
    non-inferiority at the 5 % level). Where there are too few groups, and by the point rule, the
    mean gain itself must.
    """
    scored = reference.per_image.assign(**{ASKED: asked_conventions(reference.per_image)})
    scored = scored[["image_id", "dice", ASKED]]
    both = per_image.merge(scored, on="image_id", suffixes=("", "_reference"))
    both["gain"] = both["dice"] - both["dice_reference"]
    same = len(both) == len(per_image) == len(scored)
    for suffix, rows in _parts(both):
        groups = rows["group"].nunique()
        resampled = rule == "resampled" and groups >= MIN_GROUPS
        mean = float(rows["gain"].mean())
        gain = lower_bound(rows["gain"].to_numpy(), rows["group"], LEVEL) if resampled else mean
        how = f"mean {mean:+.4f}, lower bound over {groups} groups" if resampled else _point(rule)
        yield Check(
            name=f"dice_vs_{name}{suffix}",
            value=gain,
            bound=f">= -{margin}",
            passed=same and gain >= -margin,
            detail=f"version {reference.version}, {len(rows)} same radiographs, {how}"
            + _answered(rows),
        )


def _parts(both: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The end of each check's name, and the radiographs that it is about."""
    known = both[both[ASKED] == both[CONVENTION]]
    if len(known) or both.empty:
        yield "", known
    yield from ((f"_{one}", rows) for one, rows in known.groupby("class_name"))
    if both[CONVENTION].nunique() > 1 or len(known) < len(both):
        yield from ((f"_in_{one}", rows) for one, rows in both.groupby(CONVENTION))


def _answered(rows: pd.DataFrame) -> str:
    """That a release answered otherwise than it was asked."""
    other = sorted(rows[ASKED][rows[ASKED] != rows[CONVENTION]].unique())
    return f"; it does not know this convention and answered in {', '.join(other)}" if other else ""


def _point(rule: Rule) -> str:
    return "mean" if rule == "point" else f"point rule, fewer than {MIN_GROUPS} groups"
