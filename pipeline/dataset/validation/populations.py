"""How large lungs are drawn and how bright radiographs are, in a class, a convention, a version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.artifacts import Artifact, StrictModel
from pipeline.conventions import STANDARD
from pipeline.files import write_json

PREVIOUS = "data.previous.json"
"""In the project's root, known to git: the profile of the dataset's version before this one."""

DIGITS = 8
"""Of a SHA-256: beside 100,000 radiographs, one in 40,000 others passes for one of them."""
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


class Populations(StrictModel):
    """Some pairs together and by class."""

    all: Population
    classes: dict[str, Population]

    @classmethod
    def of(cls, pairs: pd.DataFrame) -> Self:
        """Of rows of the manifest, at least one."""
        classes = {str(name): Population.of(rows) for name, rows in pairs.groupby("class_name")}
        return cls(all=Population.of(pairs), classes=classes)


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
    conventions: dict[str, Populations] = Field(default_factory=dict)
    """The same of the pairs of each convention; empty where all are `standard`."""
    version: str = ""
    """The MD5 of its list of files, as in its data.dvc."""
    radiographs: str = Field("", pattern=f"^([0-9a-f]{{{DIGITS}}})*$")
    """The first DIGITS of the SHA-256 of each, sorted and joined; none in a file from before this
    was kept."""

    @classmethod
    def of(cls, manifest: pd.DataFrame, version: str = "") -> Self:
        """Of all pairs, of each class and of each convention; empty without pairs."""
        if manifest.empty:
            return cls()
        whole = Populations.of(manifest)
        within = {str(name): Populations.of(rows) for name, rows in manifest.groupby("convention")}
        return cls(
            all=whole.all,
            classes=whole.classes,
            conventions={} if within.keys() == {STANDARD} else within,
            version=version,
            radiographs="".join(sorted(manifest["image_sha256"].str[:DIGITS])),
        )

    def has(self, sha256: pd.Series[str]) -> pd.Series[bool]:
        """Which radiographs, by their SHA-256, it has; none where it does not tell."""
        text = self.radiographs
        known = {text[at : at + DIGITS] for at in range(0, len(text), DIGITS)}
        return sha256.str[:DIGITS].isin(known)

    @property
    def whole(self) -> Populations | None:
        """Of all pairs; None for an empty one."""
        return None if self.all is None else Populations(all=self.all, classes=self.classes)

    def within(self, convention: str) -> Populations | None:
        """Of the pairs of a convention; None without any."""
        if not self.conventions:
            return self.whole if convention == STANDARD else None
        return self.conventions.get(convention)

    def write(self, path: Path) -> None:
        """Write it as stable, readable JSON: {} for an empty one."""
        write_json(path, self.model_dump(mode="json", exclude_defaults=True))


def read_previous(project: Path) -> Profile:
    """The profile in data.previous.json below `project`, an empty one where there is no such file.

    Raises StageError when the file holds anything else.
    """
    path = project / PREVIOUS
    return Profile.read(path) if path.exists() else Profile()
