"""One patient's proportions, and the curves that organs are made of.

Organs are laid out in the patient's own frame, in shares of the picture's side: x from the
midline outwards, y downwards. `Patient.pose` tilts, scales and shifts them into the picture, where
both coordinates run from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(..., 2): x, y."""
Template = tuple[tuple[float, float], ...]
"""Knots: x in half-widths of a lung, y in its heights, from the apex down."""

SIDES = (-1.0, 1.0)  # right lung, left lung: the patient faces the viewer
EDGE = 40  # points along a curve


@dataclass(frozen=True)
class Patient:
    """Proportions, in shares of the picture's side unless said otherwise."""

    apex: float
    height: float
    """Of the taller lung, apex to costophrenic angle."""
    width: float
    """From the midline to the outer wall of a lung."""
    heart: float
    """Size of the heart; 1 is average."""
    knob: float
    """How far the aortic knob stands out, 0..1."""
    dome: float
    """Height of the right diaphragm, in heights of the lung."""
    lift: float
    """How much higher the right diaphragm stands, in heights of the lung."""
    bulk: float
    """Soft tissue between lung and skin."""
    slope: float
    """Of the ribs; 1 is average."""
    pose: Points
    """(2, 3) affine map from the patient's frame to the picture."""

    @property
    def size(self) -> tuple[float, float]:
        """Scale of a template."""
        return self.width, self.height

    def frame(self, template: Template) -> Points:
        """(EDGE, 2) a template as a smooth curve in the patient's frame."""
        return curve(np.array(template)) * self.size + (0.0, self.apex)

    def place(self, points: Points) -> Points:
        """From the patient's frame to the picture."""
        placed: Points = points @ self.pose[:, :2].T + self.pose[:, 2]
        return placed


def draw_patient(rng: np.random.Generator) -> Patient:
    """One more patient, of adult proportions."""
    return Patient(
        apex=rng.uniform(0.08, 0.15),
        height=rng.uniform(0.65, 0.79),
        width=rng.uniform(0.355, 0.41),
        heart=rng.uniform(0.8, 1.2),
        knob=rng.uniform(0.0, 1.0),
        dome=rng.uniform(0.12, 0.21),
        lift=rng.uniform(0.01, 0.05),
        bulk=rng.uniform(0.025, 0.08),
        slope=rng.uniform(0.8, 1.2),
        pose=_pose(rng),
    )


def _pose(rng: np.random.Generator) -> Points:
    turn, scale = np.radians(rng.normal(0, 1.8)), rng.uniform(0.93, 1.06)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([0.5, 0.5]) + rng.uniform(-0.025, 0.025, 2)
    return np.column_stack([linear, middle - linear @ (0.0, 0.5)])


@lru_cache
def _spline(knots: int, samples: int) -> NDArray[np.float64]:
    """(samples, knots): the natural cubic spline through equally spaced values, as a matrix."""
    value = np.eye(knots)
    bend = 4 * value + np.eye(knots, k=1) + np.eye(knots, k=-1)
    second = 6 * (np.eye(knots, k=1) - 2 * value + np.eye(knots, k=-1))
    bend[[0, -1]], second[[0, -1]] = value[[0, -1]], 0
    curvature = np.linalg.solve(bend, second)
    place = np.linspace(0, knots - 1, samples)
    left = np.minimum(place.astype(int), knots - 2)
    after = (place - left)[:, None]
    before = 1 - after
    bow = (before**3 - before) * curvature[left] + (after**3 - after) * curvature[left + 1]
    return np.asarray(before * value[left] + after * value[left + 1] + bow / 6)


def curve(knots: Points, samples: int = EDGE) -> Points:
    """(..., samples, 2) smooth open curve through the knots (..., k, 2)."""
    return np.asarray(_spline(knots.shape[-2], samples) @ knots)


def band(line: Points, width: Points | float) -> Points:
    """(..., 2n, 2) outline of a band of that width around open lines (..., n, 2)."""
    along = np.gradient(line, axis=-2)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) * np.asarray(width) / 2
    return np.concatenate([line + across, (line - across)[..., ::-1, :]], axis=-2)


def mirrored(right: Points, rng: np.random.Generator, spread: float = 0.004) -> Points:
    """(2, ..., n, 2): an outline given for x >= 0 on both sides, a little displaced on each."""
    both = np.stack([right * (side, 1.0) for side in SIDES])
    moved = rng.uniform(-spread, spread, (2, *(1,) * (right.ndim - 1), 2))
    return np.asarray(both + moved)


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> Points:
    """(36, 2) outline."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radii + centre
