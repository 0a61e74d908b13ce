"""Spine, ribs and shoulder girdle as outlines in the patient's frame."""

from __future__ import annotations

import numpy as np

from pipeline.dataset.synthetic.chest.patient import (
    EDGE,
    Patient,
    Points,
    Template,
    band,
    curve,
    mirrored,
)

RIBS = 10  # on each side
BEND = 36  # points of a rib's loop of 60 that lie behind the lung

RIB: Template = (
    (0.00, 0.000), (0.22, -0.035), (0.48, -0.030), (0.74, 0.030), (0.93, 0.110),
    (1.00, 0.180), (0.95, 0.250), (0.77, 0.315), (0.55, 0.360), (0.34, 0.390),
)  # fmt: skip
CLAVICLE: Template = (
    (0.07, 0.105), (0.20, 0.095), (0.38, 0.055), (0.58, 0.020), (0.80, 0.005), (1.02, -0.030),
)  # fmt: skip
SCAPULA: Template = (
    (0.72, 0.09), (0.82, 0.28), (0.92, 0.46), (0.99, 0.44),
    (1.06, 0.26), (1.15, 0.14), (1.16, 0.05), (0.95, 0.04),
)  # fmt: skip


def spine(patient: Patient, rng: np.random.Generator) -> tuple[Points, Points]:
    """The column (n, 2), and its vertebral bodies (m, 4, 2), which grow downwards."""
    joints = np.cumsum(np.linspace(0.045, 0.088, 18)) - 0.08
    bend = rng.uniform(-0.012, 0.012) * np.sin(3 * joints)
    half = np.linspace(0.030, 0.056, 18) * patient.width / 0.37
    column = band(np.stack([bend, joints], axis=-1), 2 * half[:, None])
    gap = 0.12 * np.diff(joints)
    top, foot, x, wide = joints[:-1] + gap, joints[1:] - gap, bend[:-1], half[:-1]
    corners = [(x - wide, top), (x + wide, top), (x + wide, foot), (x - wide, foot)]
    return column, np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)


def processes(vertebrae: Points) -> Points:
    """(m, 4, 2): the spinous processes, seen end on below the middle of each vertebral body."""
    middle = vertebrae.mean(axis=1, keepdims=True)
    lozenge = np.array([[0.0, 0.006], [0.006, 0.02], [0.0, 0.034], [-0.006, 0.02]])
    return np.asarray(middle + lozenge)


def ribs(patient: Patient, rng: np.random.Generator) -> tuple[Points, Points]:
    """Posterior and anterior parts (m, n, 2) of every rib: one loop around the lung each."""
    number = np.arange(RIBS)
    start = patient.apex - 0.005 + patient.height * rng.uniform(0.088, 0.1) * number
    fall = patient.height * patient.slope * np.interp(number, [0, 3, RIBS], [0.55, 0.95, 1.1])
    template = np.array(RIB)
    x = 0.03 + (_reach(start + 0.12 * fall, patient) - 0.018)[:, None] * template[:, 0]
    y = start[:, None] + fall[:, None] * template[:, 1]
    loop = curve(np.stack([x, y], axis=-1), 60)
    both = mirrored(loop, rng).reshape(-1, 60, 2)
    thick = rng.uniform(0.019, 0.025) * np.interp(np.arange(60), [0, 15, 60], [0.8, 1.0, 1.2])
    thick = thick[:, None]
    return band(both[:, :BEND], thick[:BEND]), band(both[:, BEND - 2 :], thick[BEND - 2 :])


def _reach(y: Points, patient: Patient) -> Points:
    """How far out the chest wall is at those heights."""
    wall = np.array(
        [(0.55, 0.0), (0.68, 0.1), (0.79, 0.21), (0.88, 0.38), (0.95, 0.58), (1.0, 1.0)]
    )
    return np.interp(y, wall[:, 1] * patient.height + patient.apex, wall[:, 0] * patient.width)


def clavicles(patient: Patient, rng: np.random.Generator) -> Points:
    """(2, n, 2)."""
    line = patient.frame(CLAVICLE)
    line[:, 1] += rng.uniform(-0.025, 0.02) + rng.uniform(-0.08, 0.08) * line[:, 0]
    width = np.interp(np.arange(EDGE), [0, 8, 25, EDGE], [1.5, 1.0, 0.9, 0.4])
    return band(mirrored(line, rng, 0.01), width[:, None] * rng.uniform(0.022, 0.029))


def scapulae(patient: Patient, rng: np.random.Generator) -> Points:
    """(2, n, 2): how far they overlap the lungs depends on the shoulders' position."""
    outline = patient.frame(SCAPULA) + np.array([rng.uniform(-0.01, 0.05), 0.0])
    return mirrored(outline, rng, 0.01)


def arms(patient: Patient, rng: np.random.Generator) -> Points:
    """(2, 4, 2): open lines from the head of the humerus down its shaft."""
    head = np.array([patient.width + rng.uniform(0.08, 0.12), patient.apex + 0.08])
    shaft = np.array([[0.0, 0.0], [0.012, 0.03], [0.06, 0.18], [0.16, 0.45]])
    return mirrored(head + shaft, rng, 0.015)
