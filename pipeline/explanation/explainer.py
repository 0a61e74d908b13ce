"""Maps of what an answer rests on, each with its check; one that fails is left out, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.conventions import STANDARD, nearest_conventions
from pipeline.explanation.heatmap import draw_heatmap
from pipeline.explanation.map_checks import map_failure, measure_map
from pipeline.explanation.occlusion import CHECKED, occlusion_drops, spread_drops
from pipeline.explanation.seg_grad_cam import SegGradCam
from pipeline.explanation.shuffled import shuffle_export, shuffle_network
from pipeline.inference.predictor import Predictor
from pipeline.model.keras_file import load_network
from pipeline.radiograph.fit import fit_radiograph
from pipeline.radiograph.grey import Grey

SEED = 1
"""Of the shuffle."""

HALF = 0.5
"""Of a pixel at the network's size: it is lung where the mask covers so much of it."""

TITLES = {"occlusion": "occlusion map", "seg_grad_cam": "Seg-Grad-CAM map"}


@dataclass(frozen=True)
class Explanation:
    """A map of one radiograph, or the reason why there is none."""

    method: str
    """occlusion or seg_grad_cam."""
    picture: NDArray[np.uint8] | None
    """RGB (h, w, 3): the map over the radiograph, with the predicted outline; None if it failed."""
    sentence: str
    """What the map shows, or why it is left out."""
    checks: Mapping[str, float]
    """What was measured (`map_checks`); empty where there was nothing to explain."""
    passed: bool


@dataclass(frozen=True)
class _Question:
    """What is to be explained, at the network's size (S, S)."""

    image: Grey
    lung: NDArray[np.bool_]
    agreement: float
    convention: str
    """That the network is asked for."""
    place: int
    """Of that convention among those of the network."""


class Explainer:
    """The explanations of one network; making one loads TensorFlow and shuffled copies of it."""

    def __init__(self, network: Path, threshold: float) -> None:
        """Load model.keras and model.onnx of the folder `network`.

        `threshold` is the probability from which its masks are lung. Raises StageError when one of
        the files is no network of the stage train.
        """
        self._threshold = threshold
        self._predictor = Predictor(network / "model.onnx")
        with tempfile.TemporaryDirectory() as folder:
            shuffle_export(network / "model.onnx", SEED, Path(folder, "shuffled.onnx"))
            self._shuffled = Predictor(Path(folder, "shuffled.onnx"))
        self._cams = _load_cams(network / "model.keras")

    def explain(
        self, radiograph: Grey, prediction: NDArray[np.uint8], convention: str = STANDARD
    ) -> tuple[Explanation, ...]:
        """An explanation by each method, of the predicted mask (h, w), 0 and 1, of a radiograph.

        The network is asked in `convention` or, where it does not know that one, in its default.
        The same for the same network and input.
        """
        side = self._predictor.image_size
        image = fit_radiograph(radiograph, side)
        share = cv2.resize(
            prediction.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA
        )
        lung = share >= HALF
        if not lung.any():
            return tuple(_nothing(method) for method in TITLES)
        question = self._question(image, lung, convention)
        occlusion = _explanation("occlusion", *self._occlude(question), radiograph, prediction)
        if not self._cams:
            return occlusion, _without_tensorflow()
        weighed = _weigh(*self._cams, question)
        return occlusion, _explanation("seg_grad_cam", *weighed, radiograph, prediction)

    def _question(self, image: Grey, lung: NDArray[np.bool_], convention: str) -> _Question:
        known = self._predictor.conventions
        (asked,) = nearest_conventions([convention], known)
        own = self._predictor.predict([image], None, [asked])[0] >= self._threshold
        agreement = 2 * float((own & lung).sum()) / float(own.sum() + lung.sum())
        return _Question(image, lung, agreement, asked, known.index(asked))

    def _occlude(self, asked: _Question) -> tuple[NDArray[np.float64], dict[str, float]]:
        shown, told = (asked.image, asked.lung), asked.convention
        drops = occlusion_drops(self._predictor, *shown, convention=told)
        control = occlusion_drops(self._shuffled, *shown, CHECKED, told)
        heat = spread_drops(drops.clip(0), len(asked.image))
        checks = measure_map(heat, asked.lung, (drops[CHECKED], control), asked.agreement)
        return heat, checks | {"largest_drop": float(drops.max())}


def _weigh(
    cam: SegGradCam, shuffled: SegGradCam, asked: _Question
) -> tuple[NDArray[np.float64], dict[str, float]]:
    weighed, control = (one.weigh(asked.image, asked.lung, asked.place) for one in (cam, shuffled))
    heat = cv2.resize(weighed.clip(0), asked.lung.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return heat, measure_map(heat, asked.lung, (weighed, control), asked.agreement)


def _load_cams(path: Path) -> tuple[SegGradCam, SegGradCam] | None:
    """Of the network and of its shuffled copy; none on another engine than TensorFlow."""
    import keras

    trained = load_network(path)
    if keras.backend.backend() != "tensorflow":
        return None
    return SegGradCam(trained), SegGradCam(shuffle_network(trained, SEED))


def _nothing(method: str) -> Explanation:
    sentence = f"There is no {TITLES[method]}: nothing is marked."
    return Explanation(method, None, sentence, {}, passed=False)


def _without_tensorflow() -> Explanation:
    import keras

    title, engine = TITLES["seg_grad_cam"], keras.backend.backend()
    sentence = f"The {title} is left out: it needs Keras on TensorFlow, found {engine}."
    return Explanation("seg_grad_cam", None, sentence, {}, passed=False)


def _explanation(
    method: str,
    heat: NDArray[np.float64],
    checks: dict[str, float],
    radiograph: Grey,
    prediction: NDArray[np.uint8],
) -> Explanation:
    reason = map_failure(checks)
    if reason:
        sentence = f"The {TITLES[method]} is left out: {reason}."
        return Explanation(method, None, sentence, checks, passed=False)
    picture = draw_heatmap(radiograph, heat, prediction)
    return Explanation(method, picture, _SENTENCES[method](checks), checks, passed=True)


def _occlusion_sentence(checks: Mapping[str, float]) -> str:
    return (
        "Covering the brightest square lowers the mean probability within the predicted lung by "
        f"{checks['largest_drop']:.3f}; {_where(checks)} Where a square is bright, the answer "
        "changes with the picture there; the map does not say why."
    )


def _cam_sentence(checks: Mapping[str, float]) -> str:
    return (
        "Bright is where coarse features of the network raise its answer within the predicted "
        f"lung; {_where(checks)} It is no measure of how sure or how right the answer is."
    )


def _where(checks: Mapping[str, float]) -> str:
    share, area = checks["lung_or_border_share"], checks["lung_or_border_area"]
    return (
        f"{share:.0%} of the map lies in the predicted lung or at its edge, which take {area:.0%} "
        "of the picture."
    )


_SENTENCES = {"occlusion": _occlusion_sentence, "seg_grad_cam": _cam_sentence}
