"""Draw every test radiograph: its strip, its thumbnail, where it errs and what is wrong with it.

Many radiographs are drawn by several processes, few at a time, so that memory does not grow with
the test split beyond its thumbnails and maps of errors, some 45 kB a radiograph. The result does
not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline.evaluation.cases import read_case
from pipeline.evaluation.error_maps import AlignedErrors, align_errors
from pipeline.evaluation.mask_findings import MaskFinding, find_mask_findings
from pipeline.evaluation.per_image import ImageScores
from pipeline.evaluation.scoring import LabelledPair
from pipeline.evaluation.visual_report import STRIPS
from pipeline.pictures.overlay import Picture
from pipeline.pictures.pages import encode_jpeg
from pipeline.pictures.strips import STRIP_QUALITY, draw_strip, draw_thumbnail
from pipeline.plain_names import plain_name
from pipeline.worker_pool import open_workers, translated_kill, usable_cores

CHUNK = 32  # radiographs that a process takes at once
LONGEST_PART = 200  # bytes of a folder's or a file's name without its suffix
WORKER_CASES = 250
"""Fewer are drawn sooner than a process has started."""


@dataclass(frozen=True)
class DrawnCase:
    """What the page says of a test radiograph beside its numbers."""

    image: ImageScores
    findings: tuple[MaskFinding, ...]
    thumbnail: Picture
    errors: AlignedErrors | None
    """None where the reference holds no lung."""

    @property
    def dice(self) -> float:
        """Of both lungs."""
        return self.image.scores.dice


@dataclass(frozen=True)
class Drawing:
    """What a process needs to draw some radiographs."""

    root: Path
    folder: Path
    """The report's."""
    cases: Sequence[tuple[LabelledPair, ImageScores]]


def strip_name(image_id: str) -> str:
    """Path of a radiograph's strip below the report's folder: names that an address may hold."""
    class_name, name = (plain_name(part, LONGEST_PART) for part in image_id.split("/"))
    return f"{STRIPS}/{class_name}/{name}.jpg"


def draw_all(
    root: Path, folder: Path, cases: Sequence[tuple[LabelledPair, ImageScores]]
) -> list[DrawnCase]:
    """Write the strip of each case of the project `root` below `folder`; they keep their order.

    Raises StageError or DatasetError as read_case does, CrashedError when a process is killed.
    """
    parts = [
        Drawing(root, folder, cases[start : start + CHUNK]) for start in range(0, len(cases), CHUNK)
    ]
    processes = min(usable_cores(), -(-len(cases) // WORKER_CASES))
    return [case for drawn in _draw_parts(parts, processes) for case in drawn]


def _draw_parts(parts: list[Drawing], processes: int) -> Iterator[list[DrawnCase]]:
    if processes <= 1:
        yield from map(draw_part, parts)
        return
    with translated_kill("report", processes), open_workers(processes, [__name__]) as pool:
        yield from pool.map(draw_part, parts)


def draw_part(part: Drawing) -> list[DrawnCase]:
    """Draw some radiographs, in their order."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes share the cores
    try:
        return [_draw(part.root, part.folder, *case) for case in part.cases]
    finally:
        cv2.setNumThreads(threads)


def _draw(root: Path, folder: Path, pair: LabelledPair, image: ImageScores) -> DrawnCase:
    case = read_case(root, pair, image)
    strip = draw_strip(case.radiograph, case.truth, case.prediction, case.probability)
    path = folder / strip_name(image.image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(strip, STRIP_QUALITY))
    return DrawnCase(
        image,
        find_mask_findings(case.truth, case.prediction),
        draw_thumbnail(case.radiograph, case.truth, case.prediction),
        align_errors(case.truth, case.prediction),
    )
