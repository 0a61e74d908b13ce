"""Lung probabilities of radiographs of any size, by an exported network on ONNX Runtime.

Part of the released model, so it imports little of the project, and no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.model.graph import INPUT, cut_graph, read_graph, unusable

Grey = NDArray[np.uint8]
Probability = NDArray[np.float32]

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""The engines of ONNX Runtime to use, the first that is there."""


class Predictor:
    """An exported network, with the resizing between radiographs and its own input."""

    def __init__(self, model_path: Path, level: int = 0) -> None:
        """Load the file `model_path`, whole or cut to its head `level`.

        Raises StageError when it is not a usable network, or has no such head.
        """
        self._path = model_path
        self._session = _start(model_path, level)
        self.image_size: int = self._session.get_inputs()[0].shape[1]
        """Side of the network's square input, pixels."""

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Probability]:
        """Lung probabilities float32 (h, w), 0..1, of radiographs uint8 (H, W), 0..255.

        `sizes` gives the (height, width) of each answer, by default that of its radiograph. A
        threshold belongs after this resize.
        """
        wanted = [image.shape for image in images] if sizes is None else list(sizes)
        # One radiograph at a time on every core is faster than batches, whose layers leave the
        # processor's cache, and takes the memory of a few radiographs.
        with ThreadPoolExecutor(_cores()) as pool:
            return list(pool.map(self._segment, zip(images, wanted, strict=True)))

    def _segment(self, wanted: tuple[Grey, tuple[int, ...]]) -> Probability:
        image, size = wanted
        return _resize(self._run(fit_radiograph(image, self.image_size)), size)

    def _run(self, image: Grey) -> Probability:
        pixels = image.astype(np.float32)[None, ..., None]
        try:
            (output,) = self._session.run(None, {INPUT: pixels})
        except _faults() as error:
            raise unusable(self._path, error) from None
        return np.asarray(output[0, ..., 0])


def fit_radiograph(image: Grey, side: int) -> Grey:
    """A radiograph uint8 (H, W) at the network's size (side, side), in training and prediction."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


def _start(model_path: Path, level: int) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    graph = cut_graph(read_graph(model_path), level, model_path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _cores()
    # Threads that wait without sleeping take the cores from those that work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; they come as exceptions too
    offered = onnxruntime.get_available_providers()
    providers = [name for name in PROVIDERS if name in offered]
    try:
        # Not by the path: what was looked through is what is run.
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers)
    except _faults() as error:
        raise unusable(model_path, error) from None


def _faults() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a graph that it cannot run; they share no class."""
    from onnxruntime.capi import (  # type: ignore[import-untyped]
        onnxruntime_pybind11_state as state,
    )

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    )


def _cores() -> int:
    """The cores that this process may use, not those that the machine has."""
    return len(os.sched_getaffinity(0))


def _resize(found: Probability, size: tuple[int, ...]) -> Probability:
    height, width = size
    if found.shape == (height, width):
        return found
    # Bilinear weights are positive and sum to one: the result stays within 0..1.
    resized = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
