"""What the four classes look like: opacities of the lung as a field over the picture.

COVID-19 shows bilateral, peripheral, basal ground glass; a Lung_Opacity is a focal consolidation;
a viral pneumonia is a diffuse interstitial pattern, densest around the hila (Hansell et al. 2008,
"Fleischner Society: glossary of terms for thoracic imaging", Radiology 246:697; Wong et al. 2020,
"Frequency and distribution of chest radiographic findings in COVID-19", Radiology 296:E72).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.synthetic.chest.anatomy import Chest, borders
from pipeline.dataset.synthetic.chest.patient import EDGE, Points

Field = NDArray[np.float32]
"""(GRID, GRID): 0 clear lung, 1 as dense as the tissue around it."""
Numbers = NDArray[np.float64]

GRID = 100  # opacities are soft: a ninth of the radiograph's pixels are enough


def normal(chest: Chest, rng: np.random.Generator) -> Field:
    """No opacity."""
    return np.zeros((GRID, GRID), np.float32)


def covid(chest: Chest, rng: np.random.Generator) -> Field:
    """Ground glass along the outer wall of both lungs, more below than above."""
    count = 2 * int(rng.integers(5, 9))
    side = np.arange(count) % 2
    down, across = rng.beta(2.6, 1.6, count), rng.uniform(0.02, 0.42, count)
    radii = rng.uniform(0.03, 0.075, (count, 2))
    haze = _blobs(_inside(chest, side, down, across), radii, rng.uniform(0.25, 0.55, count))
    grain = 1 + 0.25 * _mottle(rng, 50) + 0.25 * _mottle(rng, 18)
    return np.minimum(haze, 0.7) * grain * np.float32(rng.uniform(0.8, 1.1))


def lung_opacity(chest: Chest, rng: np.random.Generator) -> Field:
    """One or two dense consolidations in one lung."""
    foci, spots = int(rng.integers(1, 3)), 5
    down = np.repeat(rng.uniform(0.15, 0.85, foci), spots) + rng.normal(0, 0.06, foci * spots)
    across = np.repeat(rng.uniform(0.2, 0.75, foci), spots) + rng.normal(0, 0.12, foci * spots)
    side = np.repeat(rng.integers(0, 2), foci * spots)
    centres = _inside(chest, side, np.clip(down, 0.05, 0.97), across)
    radii = rng.uniform(0.03, 0.08, (foci * spots, 2))
    dense = _blobs(centres, radii, rng.uniform(0.35, 0.7, foci * spots))
    grain = 1 + 0.18 * _mottle(rng, 50) + 0.18 * _mottle(rng, 20)
    return np.minimum(dense, 0.95) * grain * np.float32(rng.uniform(0.85, 1.05))


def viral_pneumonia(chest: Chest, rng: np.random.Generator) -> Field:
    """A fine net over both lungs on a faint haze, densest around the hila."""
    net = _net(rng, 48) + np.float32(0.5) * _net(rng, 27)
    hilar = _blobs(chest.hila, np.full((2, 2), 0.14), np.full(2, 0.3))
    strength = np.float32(rng.uniform(0.8, 1.15))
    patchy = 1 + 0.5 * _mottle(rng, 6)
    return np.asarray((0.08 + 0.24 * net * patchy + hilar * (0.6 + net)) * strength)


OPACITIES: dict[str, Callable[[Chest, np.random.Generator], Field]] = {
    "COVID": covid,
    "Lung_Opacity": lung_opacity,
    "Normal": normal,
    "Viral Pneumonia": viral_pneumonia,
}


def _inside(chest: Chest, side: NDArray[np.int64], down: Numbers, across: Numbers) -> Points:
    """Points of the lungs: `down` from the apex (0..1), `across` from the outer wall (0..1)."""
    lateral, medial = borders(chest.lungs)
    step = np.rint(down * (EDGE - 1)).astype(int)
    outer, inner = lateral[side, step], medial[side, step]
    return np.asarray(outer + (inner - outer) * across[:, None])


@lru_cache
def _grid() -> Numbers:
    return (np.arange(GRID) + 0.5) / GRID


def _blobs(centres: Points, radii: Points, weights: Numbers) -> Field:
    """The sum of Gaussian spots, each the product of its two profiles."""
    profile = np.exp(-0.5 * ((_grid() - centres[..., None]) / radii[..., None]) ** 2)
    rows = profile[:, 1] * weights[:, None]
    return np.asarray(rows.T @ profile[:, 0], np.float32)


def _mottle(rng: np.random.Generator, cells: int) -> Field:
    """Smooth noise of about unit variance, `cells` grains a side."""
    grains = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(grains, (GRID, GRID), interpolation=cv2.INTER_CUBIC))


def _net(rng: np.random.Generator, cells: int) -> Field:
    """Fine lines, 0..1, where smooth noise changes its sign."""
    noise = _mottle(rng, cells)
    return np.asarray(np.exp(-((noise / np.float32(0.35)) ** 2)))
