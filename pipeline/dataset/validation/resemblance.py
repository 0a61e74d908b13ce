"""Which annotation convention the mask of each pair looks like, by the medial borders of its lungs.

The gaps between the lungs, as logarithms, have one distribution for each convention: a centre of
its own and a spread common to all. It is a t distribution, so that a mask unlike all others is not
judged surely. The spread is shrunk towards one alike in all directions, as Friedman, "Regularized
Discriminant Analysis", J. American Statistical Association 84 (1989), pp. 165-175. Each is fitted
twice more without those that lie furthest out, because some pairs have the wrong convention: those
are looked for. No pair, nor another one of its patient, takes part in what it is judged by.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.conventions import PERSON, in_order
from pipeline.dataset.validation.doubtful import DOUBTFUL, Doubtful, convention_command
from pipeline.dataset.validation.medial_borders import Borders, borders_of, gaps
from pipeline.table_files import table_of

ODDS = 10.0
"""From which a pair is listed."""
FEWEST = 20
"""Patients, or pairs without one, below which a convention is not known well enough."""
FOLDS = 10
TRIMMED = 0.1
SHRUNK = 0.1
FREEDOM = 4.0
"""Degrees of freedom of the t distribution."""
LEAST_GAP = 0.03
"""Narrower ones, and lungs that overlap, count as this."""


@dataclass(frozen=True)
class Centres:
    """What masks of each convention look like."""

    means: NDArray[np.float64]
    """(conventions, 10)"""
    precision: NDArray[np.float64]
    """(10, 10), of all."""

    def likelihoods(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms, but for a constant, of features (n, 10): (n, conventions)."""
        distances = np.stack([_distances(features, one, self.precision) for one in self.means], 1)
        power = -(FREEDOM + features.shape[1]) / 2
        found: NDArray[np.float64] = power * np.log1p(distances / FREEDOM)
        return found


def find_doubtful(manifest: pd.DataFrame) -> pd.DataFrame:
    """doubtful_conventions.csv of a manifest, the surest first.

    A pair whose convention a person confirmed is not listed. Conventions with few pairs are left
    out, and with fewer than two others nothing can be said.
    """
    judged = judged_pairs(manifest)
    names = in_order(judged["convention"])
    if len(names) < 2:
        return table_of([], DOUBTFUL.columns)
    between = gaps(borders_of(judged))
    logs = _likelihoods(judged, np.log(between.clip(LEAST_GAP)), names)
    own = judged["convention"].map(names.index).to_numpy()
    odds = np.exp(logs.max(axis=1) - logs[np.arange(len(own)), own])
    table = judged.assign(
        odds=odds, looks_like=np.array(names)[logs.argmax(axis=1)], gap=between.mean(axis=1)
    )
    usual = table.groupby("convention")["gap"].median()
    listed = table[(odds >= ODDS) & (table["convention_by"] != PERSON)]
    listed = listed.sort_values(["odds", "image_id"], ascending=[False, True])
    return table_of(_rows(listed, usual), DOUBTFUL.columns)


def _rows(listed: pd.DataFrame, usual: pd.Series) -> list[Doubtful]:
    return [
        Doubtful(
            image_id=row["image_id"],
            convention=row["convention"],
            convention_by=row["convention_by"],
            mask_sha256=row["mask_sha256"],
            looks_like=row["looks_like"],
            odds=round(row["odds"], 1),
            gap=round(row["gap"], 3),
            own_gap=round(float(usual[row["convention"]]), 3),
            other_gap=round(float(usual[row["looks_like"]]), 3),
            command=convention_command(row["looks_like"], row["image_id"]),
        )
        for row in listed.to_dict("records")
    ]


def judged_pairs(manifest: pd.DataFrame) -> pd.DataFrame:
    """The pairs with two lungs, of conventions that enough patients have."""
    measured = manifest[manifest["medial_left"] != ""]
    persons = _persons(measured).groupby(measured["convention"]).nunique()
    known = persons.index[persons >= FEWEST]
    return measured[measured["convention"].isin(known)].reset_index(drop=True)


def _persons(pairs: pd.DataFrame) -> pd.Series:
    return pairs["patient"].where(pairs["patient"] != "", pairs["image_id"])


def _likelihoods(
    judged: pd.DataFrame, features: NDArray[np.float64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Of each pair among the others of each convention: (n, conventions), logarithms."""
    # By the name, not the place: one pair more changes nothing for the rest.
    fold = np.array([zlib.crc32(person.encode()) % FOLDS for person in _persons(judged)])
    conventions = judged["convention"].to_numpy()
    found = np.zeros((len(judged), len(names)))
    for number in np.unique(fold):
        rest, judging = fold != number, fold == number
        groups = [features[rest & (conventions == name)] for name in names]
        if min(map(len, groups)) > 1:
            found[judging] = _fit(groups).likelihoods(features[judging])
    return found


def _fit(groups: Sequence[NDArray[np.float64]]) -> Centres:
    kept = [_without_outlying(group) for group in groups]
    means = np.stack([group.mean(axis=0) for group in kept])
    centred = np.concatenate([group - mean for group, mean in zip(kept, means, strict=True)])
    return Centres(means, _precision(centred))


def _without_outlying(group: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = group
    for _ in range(2):
        mean = kept.mean(axis=0)
        outlying = _distances(group, mean, _precision(kept - mean))
        kept = group[outlying <= np.quantile(outlying, 1 - TRIMMED)]
    return kept


def _precision(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the shrunk covariance of features whose mean is 0."""
    spread = centred.T @ centred / len(centred)
    alike = max(np.trace(spread) / len(spread), 1e-9) * np.eye(len(spread))
    inverse: NDArray[np.float64] = np.linalg.inv((1 - SHRUNK) * spread + SHRUNK * alike)
    return inverse


def _distances(
    features: NDArray[np.float64], mean: NDArray[np.float64], precision: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared, in spreads: (n,)."""
    centred = features - mean
    squares: NDArray[np.float64] = ((centred @ precision) * centred).sum(axis=1)
    return squares


def typical_borders(manifest: pd.DataFrame) -> dict[str, Borders]:
    """The median borders of the masks of each convention that is known well enough."""
    judged = judged_pairs(manifest)
    borders = borders_of(judged)
    return {
        name: np.median(borders[(judged["convention"] == name).to_numpy()], axis=0)
        for name in in_order(judged["convention"])
    }
