"""The released model as MLflow runs it ("models from code"): no pickle, only this text.

MLflow executes this file from the model's own copy of the package. OpenVINO is imported with
the first prediction, so that logging and loading a model do not need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError


class LungSegmenter(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Radiographs uint8 (N, H, W), 0..255, to lung probabilities float32 (N, H, W), 0..1."""

    def load_context(self, context: Any) -> None:
        """Remember where the network lies."""
        self._path = Path(context.artifacts["model.onnx"])
        self._predictors: dict[int, Any] = {}

    def predict(
        self,
        context: Any,
        model_input: np.ndarray,  # a narrower hint would make MLflow advise on type hints
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Lung probabilities of radiographs of one size, which may have a last axis of 1.

        `params` may name a `level` of a network with deep supervision: 1, 2, ... are smaller and
        faster, 0 is the whole network. Raises StageError when there is no such level.
        """
        radiographs = check_radiographs(model_input)
        predictor = self._predictor(int((params or {}).get("level", 0)))
        return np.stack(predictor.predict(list(radiographs)))

    def _predictor(self, level: int) -> Any:
        if level not in self._predictors:
            from pipeline.model.predictor import Predictor

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


mlflow.models.set_model(LungSegmenter())
