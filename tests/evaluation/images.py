"""Rows of per_image.parquet that are made up but possible."""

from __future__ import annotations

import math

from pipeline.evaluation.boundary import BorderScores
from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.per_image import Agreement, ImageScores
from pipeline.evaluation.scores import Counts


def image_of(
    image_id: str,
    counts: Counts,
    *,
    group: str = "",
    source: str = "",
    hd95: float = 2.0,
    soft_dice: float = 0.9,
    spacing: float = math.nan,
) -> ImageScores:
    """A radiograph whose lung, as counted, is all on the patient's right."""
    borders = BorderScores(hd95, hd95 / 2, 0.9)
    nothing = Agreement(Counts(0, 0, 0, sum(counts)), BorderScores(0, 0, 1))
    return ImageScores(
        image_id=image_id,
        class_name=image_id.partition("/")[0],
        source=source,
        pixel_sha256=image_id,
        group=group or image_id,
        spacing=spacing,
        both=Agreement(counts, borders),
        left=nothing,
        right=Agreement(counts, borders),
        confidence=Confidence(brier=0.01, ece=0.01, soft_dice=soft_dice, contour_entropy=1.5),
        tta_dice=0.95,
    )
