"""From outlines to a radiograph: tissue along each ray, then film.

X-rays cross every organ, so each adds or takes away attenuation on its outline. Exposure turns
the sum into grey by the law of Beer and Lambert, so dense regions saturate.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.layout import MASK_SIDE
from pipeline.dataset.synthetic.chest.anatomy import Chest
from pipeline.dataset.synthetic.chest.pathology import Field
from pipeline.dataset.synthetic.chest.patient import Points
from pipeline.radiograph.grey import Grey

SIDE = 299
"""Side of a radiograph, pixels."""
COARSE = 75  # side of what is soft anyway: a sixteenth of the work
FINE = 4  # a mask is drawn so much larger, for OpenCV fattens a filled outline by half a pixel
SHIFT = 4  # fractional bits of OpenCV's coordinates


def lung_mask(chest: Chest) -> Grey:
    """The lung fields as uint8 (256, 256), 1 lung: opacified lung is lung, the heart is not."""
    side = MASK_SIDE * FINE
    layer = np.zeros((side, side), np.uint8)
    # A pixel is lung when its centre is: the offset puts the centres on every FINE-th sample.
    for lung in _pixels(chest.lungs - (FINE / 2 - 0.5) / side, side):
        cv2.fillPoly(layer, [lung], 1, shift=SHIFT)
    return layer[::FINE, ::FINE].copy()


def project_chest(chest: Chest, opacity: Field, rng: np.random.Generator) -> Grey:
    """The radiograph as uint8 (299, 299), 0 dark to 255 bright; `opacity` is 0 clear to 1 dense."""
    lung, depth = _lung_air(chest), rng.uniform(0.5, 0.78)
    density = _weighted(_area(chest.airways), -rng.uniform(0.12, 0.28))
    if rng.random() < 0.6:
        density -= _weighted(_area(chest.stomach), rng.uniform(0.2, 0.5))
    density += rng.uniform(0.8, 1.25) * _bones(chest)
    density += lung * (rng.uniform(0.7, 1.2) * _vessels(chest) - _air(lung, opacity, depth))
    density += _enlarged(_soft_tissue(chest, rng))
    density *= _weighted(_area(chest.body), 1.0)
    film = _film(cv2.GaussianBlur(density, (0, 0), 1.0), rng)
    _collimate(film, rng)
    _mark(film, rng)
    return film


def _pixels(points: Points, side: int) -> NDArray[np.int32]:
    """(m, n, 2) OpenCV's coordinates of outlines (n, 2) or (m, n, 2)."""
    scaled = (points * side - 0.5) * (1 << SHIFT)
    return np.rint(scaled).astype(np.int32).reshape(-1, *points.shape[-2:])


def _area(outlines: Points, side: int = SIDE) -> Grey:
    """Filled outlines as uint8, 255 inside."""
    layer = np.zeros((side, side), np.uint8)
    _fill(layer, outlines, 255)
    return layer


def _fill(layer: Grey, outlines: Points, grey: int) -> None:
    for outline in _pixels(outlines, len(layer)):
        cv2.fillPoly(layer, [outline], grey, cv2.LINE_AA, SHIFT)


def _line(layer: Grey, lines: Points, thickness: int, grey: int) -> None:
    cv2.polylines(layer, list(_pixels(lines, SIDE)), False, grey, thickness, cv2.LINE_AA, SHIFT)


def _weighted(layer: Grey, weight: float) -> Field:
    return np.multiply(layer, np.float32(weight / 255), dtype=np.float32)


def _enlarged(field: Field) -> Field:
    return np.asarray(cv2.resize(field, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def _coarse(outlines: Points, blur: float, weight: float) -> Field:
    """A filled outline with a soft edge, COARSE pixels a side."""
    layer = cv2.GaussianBlur(_area(outlines, COARSE), (0, 0), blur)
    return _weighted(np.asarray(layer), weight)


def _noise(rng: np.random.Generator, cells: int, side: int, spread: float) -> Field:
    """Smooth noise, `cells` grains a side."""
    grains = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(spread)
    return np.asarray(cv2.resize(grains, (side, side), interpolation=cv2.INTER_CUBIC))


def _lung_air(chest: Chest) -> Field:
    """Share of each pixel that is lung field, 0..1."""
    fine = _area(chest.lungs, 2 * SIDE)
    return _weighted(cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 1.0)


def _air(lung: Field, opacity: Field, depth: float) -> Field:
    """Air along the ray: a lung is thicker in its middle, and opacities take air's place."""
    small = cv2.GaussianBlur(cv2.resize(lung, opacity.shape), (0, 0), 4.5)
    air = (0.68 + 0.32 * small) * (1 - 0.9 * opacity)
    return _enlarged(air * np.float32(depth))


def _soft_tissue(chest: Chest, rng: np.random.Generator) -> Field:
    """Trunk, heart, abdomen and breasts along the ray, COARSE pixels a side."""
    density = _trunk(chest, rng) * (1 + _noise(rng, 6, COARSE, 0.05))
    density += _coarse(chest.heart, 1.5, rng.uniform(0.15, 0.3))
    bowel = 1 + _noise(rng, 12, COARSE, 0.13)
    density += bowel * _coarse(chest.abdomen, 1.6, rng.uniform(0.2, 0.4))
    if rng.random() < 0.45:
        density += _coarse(chest.breasts, 0.6, rng.uniform(0.05, 0.13))
    return density


def _trunk(chest: Chest, rng: np.random.Generator) -> Field:
    """Soft tissue along the ray: round in section, thinning out to the skin."""
    margin = 24  # the body goes on outside the picture
    side = COARSE + 2 * margin
    layer = _area((chest.body * COARSE + margin) / side, side)
    reach = cv2.distanceTransform((layer > 127).astype(np.uint8), cv2.DIST_L2, 5)
    reach = cv2.GaussianBlur(reach, (0, 0), 1.2)[margin:-margin, margin:-margin]
    flat = np.minimum(reach / np.float32(COARSE * rng.uniform(0.18, 0.3)), 1.0) - 1.0
    return np.asarray(np.sqrt(1.0 - flat * flat))


def _bones(chest: Chest) -> Field:
    density = _weighted(_spine(chest), 0.29)
    density += _outlined(chest.ribs_back, 0.09, 0.06)
    density += _outlined(chest.ribs_front, 0.05, 0.03)
    density += _outlined(chest.clavicles, 0.11, 0.06)
    density += _outlined(chest.scapulae, 0.05, 0.05)
    density += _weighted(_humeri(chest), 0.24)
    return density


def _spine(chest: Chest) -> Grey:
    layer = np.zeros((SIDE, SIDE), np.uint8)
    _fill(layer, chest.spine, 155)
    _fill(layer, chest.vertebrae, 210)
    _fill(layer, chest.processes, 255)
    return layer


def _outlined(outlines: Points, marrow: float, cortex: float) -> Field:
    """A bone: its rim is denser than its inside."""
    layer = np.zeros((SIDE, SIDE), np.uint8)
    _fill(layer, outlines, round(255 * marrow / (marrow + cortex)))
    cv2.polylines(layer, list(_pixels(outlines, SIDE)), True, 255, 1, cv2.LINE_AA, SHIFT)
    return _weighted(layer, marrow + cortex)


def _humeri(chest: Chest) -> Grey:
    layer = np.zeros((SIDE, SIDE), np.uint8)
    _line(layer, chest.arms[:, 1:], 18, 130)
    _line(layer, chest.arms[:, :2], 27, 180)
    return layer


def _vessels(chest: Chest) -> Field:
    layer = np.zeros((SIDE, SIDE), np.uint8)
    _line(layer, chest.twigs[:, ::2], 1, 70)
    _line(layer, chest.boughs, 1, 130)
    _line(layer, chest.boughs[:, :6], 2, 140)
    _line(layer, chest.trunks, 2, 160)
    _line(layer, chest.trunks[:, :5], 3, 200)
    _line(layer, chest.trunks[:, :3], 5, 230)
    return _weighted(layer, 0.17)


@lru_cache
def _corner() -> Field:
    """Distance from the middle beyond the half of what the corners have, 0..0.5."""
    offset = np.linspace(-1, 1, SIDE, dtype=np.float32)
    distance = np.hypot(offset[:, None], offset[None, :]) / np.sqrt(2)
    return np.asarray(np.clip(distance - 0.5, 0, None), np.float32)


def _film(density: Field, rng: np.random.Generator) -> Grey:
    """Exposure, vignette and noise."""
    hardness, gamma = rng.uniform(1.1, 2.2), rng.uniform(0.9, 1.4)
    white, black = rng.uniform(222, 252), rng.uniform(0, 30)
    light = 1 - cv2.exp(np.minimum(-hardness * density, 0.0))
    light = cv2.pow(light, gamma)
    light *= np.float32((white - black) / (1 - np.exp(-1.7 * hardness)) ** gamma)
    if rng.random() < 0.35:
        light *= 1 - np.float32(rng.uniform(0.3, 0.9)) * _corner()
    light += _noise(rng, 210, SIDE, rng.uniform(0.4, 0.75))
    light += np.float32(black)
    return np.asarray(np.clip(light, 0, 255), np.uint8)


def _collimate(film: Grey, rng: np.random.Generator) -> None:
    """Black borders, where lead stopped the beam or the film was laid on the scanner askew."""
    for quarter in range(4):
        if rng.random() < 0.2:
            width, tilt = rng.uniform(2, 14), rng.uniform(-5, 5)
            wedge = np.array(
                [-1 - 1j, SIDE - 1j, SIDE + (width + tilt) * 1j, -1 + (width - tilt) * 1j]
            )
            middle = (SIDE - 1) / 2 * (1 + 1j)
            turned = (wedge - middle) * 1j**quarter + middle
            corners = np.rint(np.stack([turned.real, turned.imag], axis=-1)).astype(np.int32)
            cv2.fillPoly(film, [corners], int(rng.integers(0, 12)), cv2.LINE_AA)


def _mark(film: Grey, rng: np.random.Generator) -> None:
    """The technician's marker: a letter for the side, at times a label."""
    letter, x = ("R", rng.integers(8, 70)) if rng.random() < 0.5 else ("L", rng.integers(225, 280))
    at, size = (int(x), int(rng.integers(18, 45))), rng.uniform(0.35, 0.6)
    if rng.random() < 0.75:
        cv2.putText(film, letter, at, cv2.FONT_HERSHEY_SIMPLEX, size, 250, 1, cv2.LINE_AA)
    if rng.random() < 0.15:
        left, top = int(rng.integers(205, 250)), int(rng.integers(8, 30))
        cv2.rectangle(film, (left, top - 9), (left + 42, top + 3), 250, cv2.FILLED)
        cv2.putText(film, "ERECT", (left + 2, top), cv2.FONT_HERSHEY_PLAIN, 0.7, 10, 1, cv2.LINE_AA)
