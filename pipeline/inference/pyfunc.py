"""The released model as MLflow runs it: part of the code that goes with every release.

OpenVINO is imported with the first prediction, so that loading a model does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError
from .predictor import Predictor


def _load_pyfunc(folder: str) -> LungSegmenter:
    """The model, as MLflow asks for it: `folder` holds the network's files."""
    return LungSegmenter(Path(folder, "model.onnx"))


class LungSegmenter:
    """Radiographs uint8 (N, H, W), 0..255, to lung probabilities float32 (N, H, W), 0..1."""

    def __init__(self, network: Path) -> None:
        self._path = network
        self._predictors: dict[int, Predictor] = {}

    def predict(
        self, model_input: np.ndarray, params: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Lung probabilities of radiographs of one size, which may have a last axis of 1.

        `params` may name a `level` of a network with deep supervision: 1, 2, ... are smaller and
        faster, 0 is the whole network; and the annotation `convention` of all answers, by default
        the network's first. Raises StageError when there is no such level or convention.
        """
        radiographs = check_radiographs(model_input)
        given = params or {}
        predictor = self._predictor(int(given.get("level", 0)))
        asked = str(given.get("convention", predictor.conventions[0]))
        return np.stack(predictor.predict(list(radiographs), None, [asked] * len(radiographs)))

    def _predictor(self, level: int) -> Predictor:
        if level not in self._predictors:
            self._predictors[level] = Predictor(self._path, level)
        return self._predictors[level]


def check_radiographs(radiographs: Any) -> NDArray[np.uint8]:
    """The radiographs as uint8 (N, H, W); raises StageError when they are anything else."""
    found = np.asarray(radiographs)
    if found.ndim == 4 and found.shape[-1] == 1:
        found = found[..., 0]
    if found.dtype != np.uint8 or found.ndim != 3 or 0 in found.shape:
        raise StageError(
            f"radiographs: found {found.dtype} {found.shape}, expected uint8 (N, H, W) with grey "
            "values 0 to 255; convert them, 16-bit values by their declared depth",
        )
    return found
