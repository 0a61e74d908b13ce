"""Lung probabilities of radiographs of any size, by an exported network on OpenVINO.

Part of the released model, so it imports little of the project, and no TensorFlow.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..conventions import convention_places
from ..radiograph.fit import fit_radiograph
from ..radiograph.grey import Grey
from .graph import cut_graph, find_conventions, read_graph, unusable

Probability = NDArray[np.float32]
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: how much processor time in how much time, or "max" for no limit."""


class Predictor:
    """An exported network, with the resizing between radiographs and its own input."""

    def __init__(self, model_path: Path, level: int = 0) -> None:
        """Load the file `model_path`, whole or cut to its head `level`.

        Raises StageError when it is not a usable network, or has no such head.
        """
        self._path = model_path
        graph = read_graph(model_path)
        self.conventions: tuple[str, ...] = find_conventions(graph)
        """That it answers in; the first is the default."""
        self._network = _compile(cut_graph(graph, level, model_path), model_path)
        self.image_size: int = self._network.input(0).partial_shape[1].get_length()
        """Side of the network's square input, pixels."""

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[Probability]:
        """Lung probabilities float32 (h, w), 0..1, of radiographs uint8 (H, W), 0..255.

        `sizes` gives the (height, width) of each answer, by default that of its radiograph;
        `conventions` the annotation convention of each, by default the first that the network
        knows. A threshold belongs after this resize. Raises StageError for a convention that it
        does not know, and when the network cannot be run.
        """
        wanted = [image.shape for image in images] if sizes is None else list(sizes)
        told = self._tell(
            [self.conventions[0]] * len(images) if conventions is None else conventions
        )
        # One of its own for each call, because calls may come from several threads at once.
        request = self._network.create_infer_request()
        # One radiograph at a time on all cores: a batch's layers would leave the processor's cache.
        try:
            return [
                _resize(_segment(request, fit_radiograph(image, self.image_size), one), size)
                for image, size, one in zip(images, wanted, told, strict=True)
            ]
        except RuntimeError as error:
            raise unusable(self._path, error) from None

    def _tell(self, asked: Sequence[str]) -> list[list[Probability]]:
        """The further inputs for each name asked for: none where there is only one."""
        places = convention_places(asked, self.conventions)
        one_hot = np.eye(len(self.conventions), dtype=np.float32)
        return [[one_hot[[place]]] if len(one_hot) > 1 else [] for place in places]


def _segment(request: Any, image: Grey, told: list[Probability]) -> Probability:
    found = request.infer([image.astype(np.float32)[None, ..., None], *told])[0]
    expected = (1, *image.shape, 1)
    if found.shape != expected:  # on one thread OpenVINO runs graphs that it refuses on two
        raise RuntimeError(f"it answers with {found.shape}, expected {expected}")
    return np.asarray(found[0, ..., 0])


def _compile(graph: Any, model_path: Path) -> Any:
    openvino = _openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it may compute in bfloat16
        "INFERENCE_NUM_THREADS": _cores(),
        "ENABLE_CPU_PINNING": False,  # processes side by side would be pinned to the same cores
    }
    core = openvino.Core()
    try:
        # Not by the path: what was looked through is what is run.
        model = core.read_model(graph.SerializeToString())
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise unusable(model_path, error) from None


def _openvino() -> Any:
    """OpenVINO, imported so that it does not report over the network that it was imported."""
    # Without this package, which it installs along, it does the same silently.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # type: ignore[import-untyped]

    return openvino


def _cores() -> int:
    """The cores that this process may use, not those that the machine has.

    As worker_pool.py has it, which does not go with a released model.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, CPU_QUOTA.read_text().split())
    except (OSError, ValueError):
        return allowed
    return min(allowed, math.ceil(quota / period))


def _resize(found: Probability, size: tuple[int, ...]) -> Probability:
    height, width = size
    if found.shape == (height, width):
        return found
    # Bilinear weights are positive and sum to one: the result stays within 0..1.
    resized = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
