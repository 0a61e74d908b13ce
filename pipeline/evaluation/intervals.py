"""How far a mean over radiographs would move with other patients: resampled groups.

The radiographs of one group are drawn together, because they are of one patient: the cluster
bootstrap (Field and Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x) with percentile intervals
(Efron 1979, doi 10.1214/aos/1176344552).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES = 2000
MIN_GROUPS = 60
"""With fewer groups the intervals are too narrow, so that an inferior model passes too often."""
SEED = 7
"""Fixed: the same table gives the same interval, and a better one never a worse one."""

ENDS = (0.025, 0.975)
Interval = tuple[float, float]
"""Lower and upper end."""


def resampled_means(values: NDArray[np.float64], groups: Iterable[str]) -> NDArray[np.float64]:
    """Means over RESAMPLES draws of as many groups as there are, with replacement.

    `values` are (n, k), one row per radiograph, and `groups` name the group of each; the result is
    (RESAMPLES, k). Raises ValueError without any radiograph.
    """
    if not len(values):
        raise ValueError("no radiographs to resample")
    _, group = np.unique(np.asarray(list(groups), dtype=str), return_inverse=True)
    count = int(group.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group, minlength=count)
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    means: NDArray[np.float64] = (drawn @ sums) / (drawn @ sizes)[:, np.newaxis]
    return means


def mean_intervals(values: pd.DataFrame, groups: Iterable[str]) -> dict[str, Interval]:
    """95 % intervals of the mean of each column over radiographs of these groups."""
    means = resampled_means(values.to_numpy(np.float64), groups)
    low, high = np.quantile(means, ENDS, axis=0).tolist()
    return dict(zip(map(str, values), zip(low, high, strict=True), strict=True))


def worst_class_interval(per_image: pd.DataFrame) -> Interval:
    """95 % interval of the lowest mean Dice of a class.

    `per_image` has the columns `dice`, `class_name` and `group`.
    """
    means = [
        resampled_means(rows[["dice"]].to_numpy(np.float64), rows["group"])[:, 0]
        for _, rows in per_image.groupby("class_name")
    ]
    return _interval(np.min(means, axis=0))


def paired_intervals(differences: pd.DataFrame, groups: pd.Series[str]) -> dict[str, Interval]:
    """95 % intervals of the mean of each column, where two models differ on the same radiographs.

    A row is a radiograph, whose two scores are so drawn together; `groups` name the group of each
    row. A column is taken over the rows where it is a number, and left out where those are of
    fewer than two groups, from which resampling learns nothing.
    """
    alike: dict[bytes, list[str]] = {}  # columns with the same rows share their draws
    for name in differences:
        alike.setdefault(differences[name].notna().to_numpy().tobytes(), []).append(str(name))
    found: dict[str, Interval] = {}
    for kept, names in alike.items():
        rows = np.frombuffer(kept, np.bool_)
        if groups[rows].nunique() < 2:
            continue
        found |= mean_intervals(differences.loc[rows, names], groups[rows])
    return found


def _interval(means: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(means, ENDS)
    return float(low), float(high)


def lower_bound(values: NDArray[np.float64], groups: Iterable[str], level: float) -> float:
    """The value that the mean of `values` (n,) exceeds in a share 1 - `level` of the resamples."""
    return float(np.quantile(resampled_means(values[:, np.newaxis], groups)[:, 0], level))
