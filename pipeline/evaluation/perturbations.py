"""What happens to radiographs on the way: darker, noisier, turned, cut, each in three grades.

A radiograph that is moved takes its mask along; what comes in from beyond the picture is black.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey

Picture = NDArray[np.uint8]
Plane = NDArray[np.float64]
"""A matrix (2, 3) from where a place is to where it was.

The radiograph's middle is the origin and its height is 1.
"""


@dataclass(frozen=True)
class Perturbation:
    """One kind of change."""

    strengths: tuple[float, float, float]
    """Of the grades 1 to 3."""
    unit: str
    change: Callable[[Grey, Picture, float], tuple[Grey, Picture]]
    """Of a radiograph and its mask, by a strength."""

    def apply(self, image: Grey, mask: Picture, grade: int) -> tuple[Grey, Picture]:
        """The radiograph (H, W), 0..255, and its mask (h, w), 0 and 1, changed by a grade 1..3."""
        return self.change(image, mask, self.strengths[grade - 1])


def move(picture: NDArray[Any], matrix: Plane, frame: tuple[int, ...]) -> NDArray[Any]:
    """A picture (h, w) of any number type, resampled linearly at the places that a Plane names.

    `frame` is the shape (H, W) of the radiograph. Its mask may be of another shape: it shows the
    same, stretched, and moves as the radiograph does.
    """
    height, width = picture.shape
    wider = frame[1] * height / (frame[0] * width)  # than the picture, at equal heights
    plane = matrix * np.array([[1, 1 / wider, 1 / wider], [wider, 1, 1]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    turned = plane[:, :2]
    shift = plane[:, 2] * height + middle - turned @ middle
    moved: NDArray[Any] = cv2.warpAffine(
        picture,
        np.column_stack([turned, shift]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return moved


def rotation(degrees: float) -> Plane:
    """The Plane of a turn about the middle."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0]])


def _shifted(share: float) -> Plane:
    return np.array([[1, 0, share], [0, 1, share]])


def _cropped(share: float) -> Plane:
    """Cut off from every side, and enlarged again."""
    left = 1 - 2 * share
    return np.array([[left, 0, 0], [0, left, 0]])


def bend(image: Grey, exponent: float) -> Grey:
    """Gamma: grey values 0..255 as shares of white to a power; above 1 is darker."""
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return table[image]


def _exposed(image: Grey, factor: float) -> Grey:
    brighter: Grey = np.rint(np.minimum(image * factor, 255)).astype(np.uint8)
    return brighter


def _noisy(image: Grey, deviation: float) -> Grey:
    # By the picture itself, so that it is the same each time and another for each radiograph.
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    noisy: Grey = np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)
    return noisy


def _blurred(image: Grey, share: float) -> Grey:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), share * image.shape[0]))


def _coarse(image: Grey, factor: float) -> Grey:
    height, width = image.shape
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR))


def _greys(
    change: Callable[[Grey, float], Grey],
) -> Callable[[Grey, Picture, float], tuple[Grey, Picture]]:
    """A change of the grey values alone."""
    return lambda image, mask, strength: (change(image, strength), mask)


def _places(
    plane: Callable[[float], Plane],
) -> Callable[[Grey, Picture, float], tuple[Grey, Picture]]:
    """A movement of the radiograph and its mask."""

    def moved(image: Grey, mask: Picture, strength: float) -> tuple[Grey, Picture]:
        where = plane(strength)
        lung = move(mask * np.uint8(255), where, image.shape) >= 128
        return move(image, where, image.shape), lung.astype(np.uint8)

    return moved


PERTURBATIONS: Mapping[str, Perturbation] = {
    "exposure": Perturbation((1.25, 1.6, 2.2), "times the grey values", _greys(_exposed)),
    "gamma": Perturbation((1.5, 2.2, 3.2), "exponent", _greys(bend)),
    "noise": Perturbation((8, 20, 40), "grey values, standard deviation", _greys(_noisy)),
    "blur": Perturbation((0.005, 0.012, 0.025), "of the height, deviation", _greys(_blurred)),
    "rotation": Perturbation((7, 15, 30), "degrees", _places(rotation)),
    "shift": Perturbation((0.05, 0.12, 0.2), "of the height, left and up", _places(_shifted)),
    "crop": Perturbation((0.05, 0.1, 0.15), "of each side cut off", _places(_cropped)),
    "resolution": Perturbation((3, 6, 12), "times coarser", _greys(_coarse)),
}
GRADES = (1, 2, 3)
MOVEMENTS = ("crop", "rotation", "shift")
SHADINGS = tuple(name for name in PERTURBATIONS if name not in MOVEMENTS)
