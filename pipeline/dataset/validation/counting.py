"""Count what the stage validate found, for validation.json."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from pipeline.dataset.validation.convention_counts import count_conventions
from pipeline.dataset.validation.expectations import ValidationResult
from pipeline.dataset.validation.validation_summary import ValidationSummary
from pipeline.dataset.validation.whole import DatasetTables


def summarise_validation(tables: DatasetTables, result: ValidationResult) -> ValidationSummary:
    """The summary of what was found and what is expected of it."""
    by_class = tables.manifest.groupby("class_name")
    areas = by_class["lung_area"].median().round(4)
    flags = Counter(code for codes in tables.manifest["flags"] for code in codes.split())
    return ValidationSummary(
        pairs=len(tables.manifest),
        quarantined=len(tables.quarantine),
        reasons=dict(sorted(Counter(tables.quarantine["reason"]).items())),
        label_masks=int((tables.manifest["mask_labels"] != "").sum()),
        flags=dict(sorted(flags.items())),
        classes={str(name): len(rows) for name, rows in by_class},
        conventions=count_conventions(tables.manifest),
        median_lung_area={str(name): float(area) for name, area in areas.items()},
        shifts=_by_subject(tables.shifts),
        doubtful_conventions=len(tables.doubtful),
        sheets=dict(sorted(tables.origins.counts.items())),
        critical=len(result.critical),
        warnings=len(result.warnings),
    )


def _by_subject(shifts: pd.DataFrame) -> dict[str, float]:
    """Shifts by quantity, class, convention and reference; without those that are no number."""
    known = shifts[np.isfinite(shifts["shift"])]
    drawn = known["convention"].map(lambda name: f" {name}" if name else "")
    names = known["quantity"] + " " + known["class_name"] + drawn + " " + known["against"]
    return dict(zip(names, known["shift"].round(4).tolist(), strict=True))
