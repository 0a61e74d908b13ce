"""Whether a candidate is worse than a release, on the same test radiographs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pandas as pd

from pipeline.evaluation.intervals import MIN_GROUPS, lower_bound
from pipeline.release.champion import Reference
from pipeline.release.verdict import Check

LEVEL = 0.05
"""One-sided: an inferior candidate passes this often."""

Rule = Literal["resampled", "point"]


def non_inferiority_checks(
    name: str, reference: Reference, per_image: pd.DataFrame, margin: float, rule: Rule
) -> Iterator[Check]:
    """Compare mean Dice overall and in each class; `name` is what the release is called.

    Resampled: the gain must exceed -`margin` in 95 % of the resamples of groups (one-sided
    non-inferiority at the 5 % level). Where there are too few groups, and by the point rule, the
    mean gain itself must.
    """
    scored = reference.per_image[["image_id", "dice"]]
    both = per_image.merge(scored, on="image_id", suffixes=("", "_reference"))
    both["gain"] = both["dice"] - both["dice_reference"]
    same = len(both) == len(per_image) == len(scored)
    parts = [("", both), *((f"_{one}", rows) for one, rows in both.groupby("class_name"))]
    for suffix, rows in parts:
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
            detail=f"version {reference.version}, {len(rows)} same radiographs, {how}",
        )


def _point(rule: Rule) -> str:
    return "mean" if rule == "point" else f"point rule, fewer than {MIN_GROUPS} groups"
