"""A chest as outlines: lungs, soft organs and skeleton, different in every patient.

The proportions were fitted by eye to frontal radiographs of adults. The lung fields follow the
convention of the COVID-19 Radiography Database's masks: heart, mediastinum and what lies below
the diaphragm's dome are not lung.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.dataset.synthetic.chest import skeleton
from pipeline.dataset.synthetic.chest.patient import (
    EDGE,
    SIDES,
    Patient,
    Points,
    Template,
    band,
    curve,
    draw_patient,
    ellipse,
    mirrored,
)

LATERAL: Template = (
    (0.36, 0.000), (0.52, 0.025), (0.66, 0.100), (0.77, 0.210),
    (0.87, 0.380), (0.94, 0.580), (0.98, 0.790), (1.00, 1.000),
)  # fmt: skip
RIGHT_BORDER: Template = (
    (0.36, 0.00), (0.21, 0.05), (0.15, 0.15), (0.15, 0.28),
    (0.15, 0.42), (0.19, 0.58), (0.235, 0.72), (0.215, 1.0),
)  # fmt: skip
LEFT_BORDER: Template = (
    (0.36, 0.00), (0.21, 0.05), (0.16, 0.15), (0.19, 0.25),
    (0.165, 0.37), (0.29, 0.54), (0.44, 0.74), (0.46, 1.0),
)  # fmt: skip
# From the costophrenic angle inwards: x in widths, y in heights of the diaphragm's dome.
DOME: Template = (
    (0.0, 0.0), (0.1, 0.27), (0.25, 0.64), (0.44, 0.9), (0.66, 1.0), (0.85, 0.97), (1.0, 0.9),
)  # fmt: skip
BRANCHES = (-1.25, -0.95, -0.5, 0.1, 0.45, 0.75, 1.0, 1.25)  # angles below the horizontal


@dataclass(frozen=True)
class Chest:
    """Outlines in the picture; closed unless said otherwise."""

    body: Points
    lungs: Points
    """(2, n, 2), right then left: lateral border down, diaphragm inwards, medial border up."""
    heart: Points
    abdomen: Points
    stomach: Points
    """Its gas."""
    breasts: Points
    airways: Points
    """(3, n, 2): trachea, right and left main bronchus."""
    hila: Points
    """(2, 2): where the vessels enter each lung."""
    trunks: Points
    """Vessels of the first order; open lines (m, n, 2), like the two that follow."""
    boughs: Points
    twigs: Points
    spine: Points
    vertebrae: Points
    processes: Points
    ribs_back: Points
    ribs_front: Points
    clavicles: Points
    scapulae: Points
    arms: Points
    """(2, 4, 2): open lines."""


def draw_chest(rng: np.random.Generator) -> Chest:
    """The outlines of one more patient."""
    patient = draw_patient(rng)
    organs = {**_soft_organs(patient, rng), **_skeleton(patient, rng)}
    return Chest(**{name: patient.place(points) for name, points in organs.items()})


def borders(lungs: Points) -> tuple[Points, Points]:
    """The lateral and the medial border (..., EDGE, 2) of lungs, both from the apex down."""
    return lungs[..., :EDGE, :], lungs[..., : -EDGE - 1 : -1, :]


def _skeleton(patient: Patient, rng: np.random.Generator) -> dict[str, Points]:
    column, vertebrae = skeleton.spine(patient, rng)
    back, front = skeleton.ribs(patient, rng)
    return {
        "spine": column,
        "vertebrae": vertebrae,
        "processes": skeleton.processes(vertebrae),
        "ribs_back": back,
        "ribs_front": front,
        "clavicles": skeleton.clavicles(patient, rng),
        "scapulae": skeleton.scapulae(patient, rng),
        "arms": skeleton.arms(patient, rng),
    }


def _soft_organs(patient: Patient, rng: np.random.Generator) -> dict[str, Points]:
    lungs = np.stack([_lung(patient, side, rng) for side in SIDES])
    hila = _hila(lungs)
    trunks, boughs, twigs = _vessels(hila, patient, rng)
    return {
        "body": _body(patient, rng),
        "lungs": lungs,
        "heart": _heart(lungs),
        "abdomen": _abdomen(lungs),
        "stomach": _stomach(lungs[1], rng),
        "breasts": _breasts(patient, rng),
        "airways": _airways(patient, hila, rng),
        "hila": hila,
        "trunks": trunks,
        "boughs": boughs,
        "twigs": twigs,
    }


def _lung(patient: Patient, side: float, rng: np.random.Generator) -> Points:
    right = side < 0
    foot = 1.0 - patient.lift * right + rng.uniform(-0.015, 0.015)
    dome = patient.dome * rng.uniform(0.85, 1.15) * (1.0 if right else 0.85)
    medial = _medial_knots(patient, side, rng) * (1.0, foot - dome * DOME[-1][1])
    lateral = np.array(LATERAL) * (1.0, foot)
    lateral[1:, 0] += rng.normal(0, 0.012, len(lateral) - 1)
    lateral[0] = medial[0]
    arch = curve(np.array(DOME)) * (medial[-1, 0] - lateral[-1, 0], -dome) + lateral[-1]
    outline = np.concatenate([curve(lateral), arch[1:-1], curve(medial)[::-1]])
    # Blunted by two pixels of a mask: a sharp costophrenic angle would leave specks of its own.
    outline[EDGE - 1] = (outline[EDGE - 2] + outline[EDGE]) / 2
    framed: Points = outline * patient.size * (side, 1.0) + (0.0, patient.apex)
    return framed


def _medial_knots(patient: Patient, side: float, rng: np.random.Generator) -> Points:
    knots = np.array(RIGHT_BORDER if side < 0 else LEFT_BORDER)
    knots[:, 0] += rng.normal(0, 0.008, len(knots))
    if side > 0:
        knots[3, 0] += 0.07 * patient.knob
        knots[5:, 0] *= patient.heart
    return knots


def _hila(lungs: Points) -> Points:
    medial = borders(lungs)[1]
    outwards = np.array([[-0.015, 0.0], [0.015, 0.0]])
    return np.asarray(np.stack([medial[0, 19], medial[1, 17]]) + outwards)


def _heart(lungs: Points) -> Points:
    medial = borders(lungs)[1]
    return np.concatenate([medial[0, 22:], medial[1, 18:][::-1]])


def _abdomen(lungs: Points) -> Points:
    right, left = (lung[EDGE - 1 : -EDGE + 1] for lung in lungs)
    floor = np.array([[0.8, left[0, 1]], [0.8, 1.5], [-0.8, 1.5], [-0.8, right[0, 1]]])
    return np.concatenate([right, left[::-1], floor])


def _stomach(left: Points, rng: np.random.Generator) -> Points:
    """A bubble under the left dome; its floor is level where there is fluid."""
    top = left[EDGE - 1 : -EDGE + 1][rng.integers(21, 33)]
    wide, tall = rng.uniform(0.03, 0.085), rng.uniform(0.02, 0.05)
    bubble = ellipse((top[0], top[1] + tall + 0.018), (wide, tall))
    fluid = top[1] + tall * rng.uniform(1.2, 2.6)
    return np.column_stack([bubble[:, 0], np.minimum(bubble[:, 1], fluid)])


def _breasts(patient: Patient, rng: np.random.Generator) -> Points:
    centre = patient.width * rng.uniform(0.55, 0.7), patient.apex + patient.height * 0.72
    radii = (rng.uniform(0.11, 0.15), rng.uniform(0.1, 0.17))
    return mirrored(ellipse(centre, radii), rng, 0.01)


def _body(patient: Patient, rng: np.random.Generator) -> Points:
    """Neck, shoulders, raised arms and trunk; it goes on outside the picture."""
    top, wall = patient.apex, patient.width + patient.bulk
    neck = rng.uniform(0.085, 0.12) + patient.bulk / 3
    shoulder, armpit = rng.uniform(0.0, 0.06), top + patient.height * rng.uniform(0.42, 0.75)
    slope = [(neck, -0.4), (neck, top - 0.16), (neck * 1.4, top - 0.085), (0.3, top - 0.05)]
    slope += [(0.47, top + shoulder), (0.62, top + 0.12 + shoulder), (0.9, top + 0.4)]
    flank = [(0.9, armpit + 0.45), (wall + 0.09, armpit + 0.11), (wall + 0.025, armpit + 0.01)]
    flank += [(wall, armpit + 0.06), (wall + rng.uniform(-0.02, 0.02), armpit + 0.28), (wall, 1.5)]
    half = np.concatenate([curve(np.array(slope)), np.array(flank)])
    right, left = mirrored(half, rng, 0.012)
    return np.concatenate([left, right[::-1]])


def _airways(patient: Patient, hila: Points, rng: np.random.Generator) -> Points:
    carina = np.array([rng.uniform(-0.012, 0.006), patient.apex + 0.27 * patient.height])
    ends = np.stack([(rng.uniform(-0.01, 0.01), -0.1), *(hila * (1.0, 0.98))])
    steps = np.linspace(0, 1, 12)[:, None]
    bores = rng.uniform(0.036, 0.048) * np.array([1.0, 0.7, 0.6])
    return band(carina + (ends[:, None] - carina) * steps, bores[:, None, None])


def _vessels(hila: Points, patient: Patient, rng: np.random.Generator) -> list[Points]:
    """Three generations of branches, which fan out from each hilum."""
    count = len(BRANCHES)
    side = np.repeat(SIDES, count)
    angle = np.tile(BRANCHES, 2) + rng.normal(0, 0.14, 2 * count)
    length = patient.height * rng.uniform(0.24, 0.46, 2 * count) * (1 + 0.2 * np.sin(angle))
    root = np.repeat(hila, count, axis=0)
    root[:, 1] += 0.035 * np.sin(angle) * rng.uniform(0.3, 1.2, 2 * count)
    generations = [_branches(root, np.stack([angle, side, length]), rng)]
    for share in (0.6, 0.55):
        parent = np.repeat(np.arange(len(side)), 2)
        start = generations[-1][parent, rng.integers(3, 9, len(parent))]
        fork = np.tile([-1.0, 1.0], len(side)) * rng.uniform(0.3, 0.75, len(parent))
        angle, side, length = angle[parent] + fork, side[parent], length[parent] * share
        generations.append(_branches(start, np.stack([angle, side, length]), rng))
    return generations


def _branches(start: Points, course: Points, rng: np.random.Generator) -> Points:
    """(m, 12, 2) winding lines from `start`; `course` holds angle, side and length of each."""
    angle, side, length = course
    turns = angle[:, None] + np.cumsum(rng.normal(0, 0.11, (len(angle), 11)), axis=1)
    step = np.stack([side[:, None] * np.cos(turns), np.sin(turns)], axis=-1)
    path = np.cumsum(step * (length / 11)[:, None, None], axis=1)
    return np.concatenate([start[:, None], start[:, None] + path], axis=1)
