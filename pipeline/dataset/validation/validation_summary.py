"""validation.json: what the stage validate found, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pipeline.artifacts import Artifact

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
    label_masks: int
    """Masks of other values than 0 and 1 or 255, which were taken for lung."""
    flags: dict[str, int]
    """Pairs by the code of what is odd about them."""
    classes: dict[str, int]
    """Good pairs of each class."""
    conventions: dict[str, int]
    """Good pairs of each annotation convention, where there are several; else none."""
    median_lung_area: dict[str, float]
    """Of each class, as a share of the mask."""
    shifts: dict[str, float]
    """Robust standard deviations by quantity, class, convention (where there are several) and what
    it is compared with."""
    doubtful_conventions: int
    """Pairs whose mask looks like another convention than its own."""
    sheets: dict[str, int]
    """Metadata sheets, their rows, patients and filled cells, and what of them is not used."""
    critical: int
    """Failed expectations that stop the run."""
    warnings: int
