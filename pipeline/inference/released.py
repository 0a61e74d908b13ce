"""A released model on this machine: verified before it is opened, and who predicts with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.conventions import STANDARD
from pipeline.errors import ReleaseError
from pipeline.files import sha256_folder
from pipeline.inference.graph import FORMATS, read_format
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.inference.predictor import Predictor
from pipeline.inference.segmenter import Segmenter
from pipeline.radiograph.grey import Grey

MODEL_SHA256 = "model_sha256"
"""The tag with the hash of the network's two files."""
RELEASE_SHA256 = "release_sha256"
"""The tag with the hash of every file of the MLflow model."""

NETWORK = "network"
"""The folder of the network's files in the MLflow model."""

LEFTOVERS = ("registered_model_meta", "__pycache__")
"""What MLflow's client and Python write into a model's folder; thrown away, never opened."""


@dataclass(frozen=True)
class ReleasedModel:
    """A verified MLflow model in a folder that nobody else writes to."""

    folder: Path
    whole: bool
    """Whether every file was verified; of a release from before 0.2 only the network was."""

    @property
    def network(self) -> Path:
        """The folder of the network's two files."""
        return _network(self.folder)

    def segmenter(self, level: int = 0) -> Segmenter:
        """What predicts with the network, whole or cut to its head `level`.

        The installed code, when it knows the network's format, else the code that was released
        with it. Raises StageError when there is no such level, ReleaseError when neither can.
        """
        network = self.network / "model.onnx"
        found = read_format(network)
        if found in FORMATS:
            return Predictor(network, level)
        if self.whole:
            return _OwnCode(self.folder, level)
        raise ReleaseError(
            f"{network}: format {found}, expected one of {FORMATS}, and its own code was not "
            "verified at its release; install the lungseg that released it",
        )


class _OwnCode:
    """The code that a release carries, run by MLflow."""

    def __init__(self, folder: Path, level: int) -> None:
        import mlflow

        self.conventions: tuple[str, ...] = (STANDARD,)
        self._model, self._level = mlflow.pyfunc.load_model(str(folder)), level

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[NDArray[np.float32]]:
        """As Segmenter says; an answer of another size than its image is resized once more."""
        wanted = [image.shape for image in images] if sizes is None else list(sizes)
        return [
            _resize(self._segment(image), *size) for image, size in zip(images, wanted, strict=True)
        ]

    def _segment(self, image: Grey) -> NDArray[np.float32]:
        answer = self._model.predict(image[np.newaxis], params={"level": self._level})
        return np.asarray(answer[0], np.float32)


def _resize(found: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    if found.shape == (height, width):
        return found
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR))


def _network(folder: Path) -> Path:
    """Where a model's network is; before 0.2 it was elsewhere."""
    before = folder / "artifacts"
    return before if before.is_dir() else folder / "data" / NETWORK


def verify_model(folder: Path, tags: Mapping[str, str], name: str) -> ReleasedModel:
    """Check a downloaded MLflow model against the hashes that were recorded of it in `tags`.

    `name` is what an error calls it. What MLflow and Python leave in a folder is removed first.
    Raises ReleaseError, before anything of the model is opened, when a file was changed, added or
    removed, or when no hash was recorded.
    """
    remove_leftovers(folder)
    if expected := tags.get(RELEASE_SHA256):
        _compare(sha256_folder(folder), expected, "model folder is", name)
        _demand_network(folder, name)
        return ReleasedModel(folder, whole=True)
    _demand_network(folder, name)
    if not (expected := tags.get(MODEL_SHA256)):
        raise ReleaseError(
            f"{name}: has no recorded hash, expected the tag {RELEASE_SHA256}; use a version that "
            "`lungseg releases` lists",
        )
    _compare(model_sha256(_network(folder)), expected, "model files are", name)
    return ReleasedModel(folder, whole=False)


def remove_leftovers(folder: Path) -> None:
    """Remove what MLflow's client and Python wrote into a downloaded model."""
    for leftover in [file for pattern in LEFTOVERS for file in folder.rglob(pattern)]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)  # it may have lain in another one


def _compare(found: str, expected: str, what: str, name: str) -> None:
    if found != expected:
        raise ReleaseError(
            f"{name}: the {what} not what was recorded (found sha256 {found[:12]}, expected "
            f"{expected[:12]}); restore the artifact store or roll back",
        )


def _demand_network(folder: Path, name: str) -> None:
    missing = [one for one in MODEL_FILES if not (_network(folder) / one).is_file()]
    if missing:
        raise ReleaseError(
            f"{name}: has no {missing[0]}, expected {' and '.join(MODEL_FILES)}; if it is from "
            "before networks were exported, release a model trained anew (on the same "
            "test split, where this one's recorded scores serve, or without the alias champion)",
        )
