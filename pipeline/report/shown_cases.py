"""The test radiographs that the report shows at length, with all their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.cases import CasePictures, choose_cases, read_case
from pipeline.evaluation.per_image import ImageScores
from pipeline.evaluation.scoring import LabelledPair
from pipeline.explanation.explainer import Explanation
from pipeline.pictures.overlay import draw_overlay, shrink_radiograph
from pipeline.pictures.pages import encode_jpeg, encode_png
from pipeline.pictures.strips import cut_panel, draw_strip
from pipeline.radiograph.grey import Grey
from pipeline.report.case_drawing import DrawnCase, strip_name
from pipeline.report.report_inputs import ReportInputs

PAGE_QUALITY = 90  # of JPEG, in percent
METHODS = {"occlusion": "Occlusion", "seg_grad_cam": "Seg-Grad-CAM"}


Explain = Callable[[Grey, NDArray[np.uint8], str], Sequence[Explanation]]
"""Of a radiograph (H, W), its predicted mask (h, w), 0 and 1, and the convention of its mask."""

_ExplainPair = Callable[[Grey, NDArray[np.uint8]], Sequence[Explanation]]


@dataclass(frozen=True)
class ShownExplanation:
    """An explanation on the page."""

    title: str
    sentence: str
    picture: bytes | None
    """A JPEG."""


@dataclass(frozen=True)
class Case:
    """One test radiograph that is shown at length."""

    kind: str
    """worst, median or best."""
    rank: int
    """1 is the first that the report shows of its kind."""
    drawn: DrawnCase
    overlay: bytes
    """An RGB PNG."""
    strip: bytes
    """A JPEG, as it is in the report's folder."""
    pictures: Mapping[str, bytes]
    """JPEGs of the page: radiograph, overlay, probability, uncertainty."""
    explanations: tuple[ShownExplanation, ...]
    """Of a worst case; empty for others."""

    @property
    def image(self) -> ImageScores:
        """Its row of per_image.parquet."""
        return self.drawn.image

    @property
    def overlay_name(self) -> str:
        """Path of the overlay below the report's folder."""
        return f"overlays/{self.kind}-{self.rank:02}.png"

    @property
    def missed(self) -> float | None:
        """Missed lung as a share of the reference lung; None without any."""
        return self._share(self.image.counts.fn)

    @property
    def extra(self) -> float | None:
        """Area marked beyond the reference lung as a share of it; None without any."""
        return self._share(self.image.counts.fp)

    def _share(self, pixels: int) -> float | None:
        lung = self.image.counts.tp + self.image.counts.fn
        return pixels / lung if lung else None


def show_cases(
    inputs: ReportInputs,
    folder: Path,
    drawn: Sequence[DrawnCase],
    pairs: Sequence[LabelledPair],
    explain: Explain,
) -> list[Case]:
    """Choose the cases and draw them, and let the worst be explained.

    Their strips are below `folder`. Raises as read_case and `explain` do.
    """
    found = {one.image.image_id: one for one in drawn}
    files = {pair.image_id: pair for pair in pairs}
    return [
        _show(
            read_case(inputs.root, files[image_id], found[image_id].image),
            folder,
            found[image_id],
            (kind, rank),
            _explain(explain, files[image_id]) if kind == "worst" else None,
        )
        for kind, image_ids in choose_cases(inputs.per_image, inputs.params.report.cases).items()
        for rank, image_id in enumerate(image_ids, start=1)
    ]


def _explain(explain: Explain, pair: LabelledPair) -> _ExplainPair:
    return lambda radiograph, prediction: explain(radiograph, prediction, pair.convention)


def _show(
    case: CasePictures,
    folder: Path,
    drawn: DrawnCase,
    place: tuple[str, int],
    explain: _ExplainPair | None,
) -> Case:
    overlay = draw_overlay(case.radiograph, case.truth, case.prediction)
    strip = draw_strip(case.radiograph, case.truth, case.prediction, case.probability)
    plain = cv2.cvtColor(shrink_radiograph(case.radiograph), cv2.COLOR_GRAY2RGB)
    pictures = {
        "radiograph": plain,
        "overlay": overlay,
        "probability": cut_panel(strip, "probability"),
        "uncertainty": cut_panel(strip, "uncertainty"),
    }
    return Case(
        kind=place[0],
        rank=place[1],
        drawn=drawn,
        overlay=encode_png(overlay),
        strip=(folder / strip_name(drawn.image.image_id)).read_bytes(),
        pictures={name: encode_jpeg(one, PAGE_QUALITY) for name, one in pictures.items()},
        explanations=_explanations(explain(case.radiograph, case.prediction)) if explain else (),
    )


def _explanations(found: Sequence[Explanation]) -> tuple[ShownExplanation, ...]:
    return tuple(
        ShownExplanation(
            title=METHODS[one.method],
            sentence=one.sentence,
            picture=None if one.picture is None else encode_jpeg(one.picture, PAGE_QUALITY),
        )
        for one in found
    )
