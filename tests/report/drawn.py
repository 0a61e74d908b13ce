"""Test radiographs as the report draws them, made up."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.mask_findings import MaskFinding
from pipeline.evaluation.scores import Counts
from pipeline.pictures.strips import THUMBNAIL
from pipeline.report.case_drawing import DrawnCase
from tests.evaluation.images import image_of

GOOD = Counts(tp=96, fp=2, fn=2, tn=100)
BAD = Counts(tp=50, fp=30, fn=20, tn=100)


def drawn_case(
    image_id: str, counts: Counts = GOOD, *codes: str, soft_dice: float = 0.9
) -> DrawnCase:
    """A radiograph with findings of these codes."""
    findings = tuple(MaskFinding(code, "left", f"Sentence of {code}.") for code in codes)
    thumbnail = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    return DrawnCase(image_of(image_id, counts, soft_dice=soft_dice), findings, thumbnail, None)
