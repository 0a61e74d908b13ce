"""Predicting some of the test radiographs again, from the very file that would be released."""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.splits.table import SplitRow, split_rows
from pipeline.evaluation.per_image import ImageScores, image_scores
from pipeline.evaluation.scoring import score_images
from pipeline.release.evidence import Evidence
from pipeline.release.verdict import Prediction
from pipeline.workspace.reproduce import borrow_data
from pipeline.workspace.workspace import Workspace

SHARE = 0.1
FEWEST = 5
"""Radiographs that are predicted again, if there are so many."""
TOLERANCE = 0.0005
"""Share of a radiograph's pixels, and its calibration error, that may differ.

Another processor rounds otherwise.
"""
MOVED = 1.0
"""Pixels that its hd95 may differ by, for the same reason."""


def predict_again(evidence: Evidence, workspace: Workspace, folder: Path) -> Prediction:
    """Predict a random tenth of the test radiographs and compare them with the table.

    Their counts, borders and calibration; nobody can know beforehand of which. The radiographs are
    read from the workspace or, where it has none, from DVC's cache by way of `folder`.
    """
    seed = secrets.randbits(32)
    chosen = choose(split_rows(evidence.test), seed)
    paths = [path for row in chosen for path in (row.image_path, row.mask_path)]
    data = borrow_data(workspace, paths, folder)
    again = score_images(evidence.model.segmenter(), chosen, data, evidence.evaluate)
    given = {one.image_id: one for one in image_scores(evidence.per_image)}
    differing = [one.image_id for one in again if not _equal(one, given.get(one.image_id))]
    return Prediction(seed=seed, radiographs=len(chosen), differing=tuple(differing[:10]))


def choose(rows: Sequence[SplitRow], seed: int) -> list[SplitRow]:
    """The radiographs that a seed chooses."""
    count = min(len(rows), max(FEWEST, math.ceil(SHARE * len(rows))))
    return random.Random(seed).sample(list(rows), count)


def _equal(again: ImageScores, given: ImageScores | None) -> bool:
    if given is None or sum(again.counts) != sum(given.counts):
        return False
    differing = max(abs(a - b) for a, b in zip(again.counts, given.counts, strict=True))
    unlike = abs(again.confidence.ece - given.confidence.ece)
    apart = abs(again.both.borders.hd95 - given.both.borders.hd95)
    return differing <= TOLERANCE * sum(again.counts) and unlike <= TOLERANCE and apart <= MOVED
