"""validation.json: what the stage validate found, in numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from pipeline.artifacts import Artifact
from pipeline.dataset.validation.expectations import ValidationResult
from pipeline.dataset.validation.whole import DatasetTables

VALIDATION_SUMMARY_FILE = Path("artifacts/validate/validation.json")
"""Below the project's root."""


class ValidationSummary(Artifact):
    """How much was found of what."""

    made_by: ClassVar[str] = "the stage validate"

    pairs: int
    """Good ones."""
    quarantined: int
    reasons: dict[str, int]
    """Quarantined files by the code of their fault."""
    flags: dict[str, int]
    """Pairs by the code of what is odd about them."""
    classes: dict[str, int]
    """Good pairs of each class."""
    median_lung_area: dict[str, float]
    """Of each class, as a share of the mask."""
    shifts: dict[str, float]
    """Robust standard deviations by quantity, class and what it is compared with."""
    critical: int
    """Failed expectations that stop the run."""
    warnings: int

    @classmethod
    def of(cls, tables: DatasetTables, result: ValidationResult) -> Self:
        """Of what was found and what is expected of it."""
        by_class = tables.manifest.groupby("class_name")
        areas = by_class["lung_area"].median().round(4)
        flags = Counter(code for codes in tables.manifest["flags"] for code in codes.split())
        return cls(
            pairs=len(tables.manifest),
            quarantined=len(tables.quarantine),
            reasons=dict(sorted(Counter(tables.quarantine["reason"]).items())),
            flags=dict(sorted(flags.items())),
            classes={str(name): len(rows) for name, rows in by_class},
            median_lung_area={str(name): float(area) for name, area in areas.items()},
            shifts=_by_subject(tables.shifts),
            critical=len(result.critical),
            warnings=len(result.warnings),
        )


def _by_subject(shifts: pd.DataFrame) -> dict[str, float]:
    """Shifts by quantity, class and reference; without those that are no number."""
    known = shifts[np.isfinite(shifts["shift"])]
    names = known["quantity"] + " " + known["class_name"] + " " + known["against"]
    return dict(zip(names, known["shift"].round(4).tolist(), strict=True))
