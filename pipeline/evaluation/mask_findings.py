"""What is wrong with a predicted mask, in plain sentences that its geometry makes certain.

Shares are of the area of the whole reference, both lungs, unless another whole is named. Height and
width are those of a lung's box; lateral is away from the midline (`lung_sides`). Thick errors are
those that hold a square of 4 % of the lungs' height (`MaskErrors.thick`).

A thick part of the missed lung (8-connected) is named by the first that fits, the first five from
0.3 % of the reference on, the last two from 1 % on:

    lung_missed                nine tenths of a lung is missed, whatever is thick
    lung_half_missed           half of a lung is
    base_missed                it holds 60 % of the lung in the lowest fifth of the height, or it is
                               70 % as wide as the lung and half of it lies in the lower 40 %
    costophrenic_angle_missed  it holds 35 % of the lung in the lowest fifth and the lateral half of
                               the width, and half of it lies in the lower 40 % of the height
                               also where the lowest rows of that half are missed over 4 % of the
                               lungs' height, however narrow they are
    apex_missed                it holds 40 % of the lung in the highest 15 % of the height
    medial_region_missed       its centroid lies in the medial third of the width
    lung_part_missed           elsewhere

Thick extra area is summed by side and by where it lies, as `ReferenceLung.surroundings` defines it,
and named from 0.5 % on:

    heart_region_included      medial: in a row of the lung, between its inner edge and the midline
    outside_thorax             lateral, and outside of the convex hull of both lungs
    lateral_region_included    lateral, but within the hull
    region_below_included      below a lung
    region_above_included      above a lung
    region_within_included     within the outline of a lung, where the reference leaves it out
    side_without_lung_marked   on the side where the reference has no lung

Further:

    island                     parts of the prediction that touch no lung, together 0.2 % or more;
                               outside_thorax where half of that lies outside of the hull
    hole                       lung in gaps that the prediction encloses, 0.1 % or more
    edge_outwards              extra less missed area is as if the edge had moved by 0.5 % of the
                               lungs' height or more in each quarter around each lung's centre, and
                               by 1 % or more in the median quarter
    edge_inwards               the other way round
    everything_marked          nine tenths of the picture, and more than twice the reference
    one_reference_lung         what the reference holds, not an error
    empty_reference, empty_prediction, equal, nothing_stands_out
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.lung_sides import BASE, ReferenceLung, Region
from pipeline.evaluation.mask_errors import THICK, MaskErrors, compare_masks

LOST, HALF = 0.9, 0.5
"""Shares of one lung."""

ZONE_AREA, PART_AREA, EXTRA_AREA = 0.003, 0.01, 0.005
ISLAND_AREA, HOLE_AREA = 0.002, 0.001
"""Shares of the reference from which on an error is named."""

BASE_HELD, ANGLE_HELD, APEX_HELD = 0.6, 0.35, 0.4
"""Shares of the lung in a zone that a missed part holds, for it to bear the zone's name."""

APEX, LOW = 0.15, 0.6
"""Shares of the height: where the apex ends and the lower 40 % begin."""

WIDE = 0.7
"""Share of the width."""

EVERYTHING = 0.9
"""Share of the picture."""

ALL = slice(None)
EXTRA = {
    "outside": (
        "outside_thorax",
        "An area lateral to the {side} lung, outside of the outline around both lungs, is marked",
    ),
    "lateral": ("lateral_region_included", "A region lateral to the {side} lung is included"),
    "below": ("region_below_included", "A region below the {side} lung is included"),
    "medial": (
        "heart_region_included",
        "The region between the lungs is included beside the {side} lung",
    ),
    "above": ("region_above_included", "A region above the {side} lung is included"),
    "within": (
        "region_within_included",
        "A region that the reference leaves out of the {side} lung is included",
    ),
    "empty": ("side_without_lung_marked", "An area on the {side} side is marked"),
}


@dataclass(frozen=True)
class MaskFinding:
    """One thing that is wrong with a predicted mask."""

    code: str
    """Of the kinds that this module lists."""
    side: str
    """The patient's, left or right, or "": the patient's right lies at the left of the picture."""
    sentence: str
    """In plain English, with its share."""


Weighed = tuple[float, MaskFinding]


def find_mask_findings(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8]
) -> tuple[MaskFinding, ...]:
    """What is wrong with `prediction` (H, W), 0 and 1, against `truth`; never empty.

    The most important comes first: what is lost as a whole, then by area. Raises ValueError when
    the sizes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction is {prediction.shape}, truth is {truth.shape}")
    extreme = _extreme(truth, prediction)
    if extreme:
        return (extreme,)
    errors = compare_masks(truth, prediction)
    weighed = [*_missed(errors), *_extra(errors), *_apart(errors), *_moved(errors)]
    weighed.sort(key=lambda one: (-one[0], one[1].code, one[1].side))
    found = [finding for _, finding in weighed]
    if not found:
        found = [MaskFinding("nothing_stands_out", "", "No region stands out.")]
    if len(errors.lungs) == 1:
        side = errors.lungs[0].side
        told = f"The reference holds only the {side} lung."
        found.append(MaskFinding("one_reference_lung", side, told))
    return tuple(found)


def _extreme(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> MaskFinding | None:
    """The one finding of masks that have no regions to compare."""
    lung, marked = (np.count_nonzero(mask) / mask.size for mask in (truth, prediction))
    if not lung:
        told = f"{_percent(marked)} of the picture is marked" if marked else "nothing is marked"
        return MaskFinding("empty_reference", "", f"The reference holds no lung; {told}.")
    if not marked:
        return MaskFinding("empty_prediction", "", "No lung is found: nothing is marked.")
    if marked >= EVERYTHING and marked > 2 * lung:
        told = f"{_percent(marked)} of the picture, of which {_percent(lung)} is lung"
        return MaskFinding("everything_marked", "", f"Nearly everything is marked: {told}.")
    if np.array_equal(truth, prediction):
        return MaskFinding("equal", "", "The prediction is equal to the reference.")
    return None


def _missed(errors: MaskErrors) -> Iterator[Weighed]:
    thick = errors.thick(errors.missed)
    for lung in errors.lungs:
        own = errors.share(lung.mask)
        missed = errors.share(lung.mask & ~errors.marked)
        if missed >= HALF * own:
            lost = missed >= LOST * own
            code = "lung_missed" if lost else "lung_half_missed"
            told = "is not found" if lost else "is missed by half or more"
            sentence = f"The {lung.side} lung {told}: {_percent(missed / own)} of it is missed."
            yield 1 + missed, MaskFinding(code, lung.side, sentence)
        else:
            yield from _missed_parts(errors, lung, thick & lung.mask)


def _missed_parts(errors: MaskErrors, lung: ReferenceLung, thick: Region) -> Iterator[Weighed]:
    shares = _thick_parts(errors, lung, thick)
    tip = _missed_tip(errors, lung)
    if tip and not {"base", "costophrenic_angle"} & {code for code, _ in shares}:
        shares["costophrenic_angle", f"The tip of the {lung.side} costophrenic angle"] = tip
    for (code, told), share in shares.items():
        sentence = f"{told} is missed: {_percent(share)} of the reference lung."
        yield share, MaskFinding(f"{code}_missed", lung.side, sentence)


def _thick_parts(
    errors: MaskErrors, lung: ReferenceLung, thick: Region
) -> dict[tuple[str, str], float]:
    """The share of each code and name; parts of one place are summed."""
    shares: defaultdict[tuple[str, str], float] = defaultdict(float)
    if errors.share(thick) < ZONE_AREA:
        return shares
    count, labels, _, centroids = cv2.connectedComponentsWithStats(
        thick.astype(np.uint8), connectivity=8
    )
    for number in range(1, count):
        part = labels == number
        share = errors.share(part)
        if share >= ZONE_AREA:
            code, told, named = _place(lung, part, centroids[number])
            if named or share >= PART_AREA:
                shares[code, told] += share
    return shares


def _missed_tip(errors: MaskErrors, lung: ReferenceLung) -> float:
    """The lung under the lowest marked row of its lateral half, if that is high enough; else 0."""
    corner = lung.rows(1 - BASE, 1), lung.columns(0, 0.5)
    own = lung.mask[corner]
    marked = np.flatnonzero((own & errors.marked[corner]).any(1))
    under = int(marked[-1]) + 1 if marked.size else 0
    rows = np.flatnonzero(own[under:].any(1))
    high = rows.size and int(rows[-1]) + 1 >= THICK * errors.height
    return float(np.count_nonzero(own[under:]) / np.count_nonzero(errors.lung)) if high else 0.0


def _place(
    lung: ReferenceLung, part: Region, centroid: NDArray[np.float64]
) -> tuple[str, str, bool]:
    """The code and the name of where a part of a lung lies; whether it is a named zone."""
    named = _zone(lung, part)
    if named:
        code, told, zone = named
        mostly = np.count_nonzero(part[zone]) >= np.count_nonzero(part) / 2
        return code, told if mostly else f"{told}, with what adjoins it,", True
    medial = lung.columns(2 / 3, 1)
    if medial.start <= centroid[0] < medial.stop:
        return "medial_region", f"A part of the {lung.side} lung towards the midline", False
    third = int(np.clip((centroid[1] - lung.box[0]) / lung.height * 3, 0, 2))
    place = ("upper", "middle", "lower")[third]
    return "lung_part", f"A part in the {place} third of the {lung.side} lung", False


def _zone(lung: ReferenceLung, part: Region) -> tuple[str, str, tuple[slice, slice]] | None:
    """The code, the name and the place of the named zone that a part of a lung holds."""
    base, apex = (lung.rows(1 - BASE, 1), ALL), (lung.rows(0, APEX), ALL)
    corner = (base[0], lung.columns(0, 0.5))
    low = np.count_nonzero(part[lung.rows(LOW, 1)]) >= np.count_nonzero(part) / 2
    wide = np.ptp(np.flatnonzero(part.any(0))) + 1 >= WIDE * lung.width
    if (low and wide) or _holds(lung, part, base, BASE_HELD):
        return "base", f"The base of the {lung.side} lung", base
    if low and _holds(lung, part, corner, ANGLE_HELD):
        return "costophrenic_angle", f"The {lung.side} costophrenic angle", corner
    if _holds(lung, part, apex, APEX_HELD):
        return "apex", f"The apex of the {lung.side} lung", apex
    return None


def _holds(lung: ReferenceLung, part: Region, zone: tuple[slice, slice], least: float) -> bool:
    inside = np.count_nonzero(part[zone])
    return bool(inside > 0 and inside >= least * np.count_nonzero(lung.mask[zone]))


def _extra(errors: MaskErrors) -> Iterator[Weighed]:
    thick = errors.thick(errors.extra)
    if errors.share(thick) < EXTRA_AREA:
        return
    for lung in errors.lungs:
        regions = lung.surroundings()
        regions["outside"] = regions["lateral"] & ~errors.hull
        regions["lateral"] &= errors.hull
        for place, region in regions.items():
            yield from _included(errors.share(thick & region), place, lung.side)
    if len(errors.lungs) == 1:
        lung = errors.lungs[0]
        empty = "left" if lung.side == "right" else "right"
        yield from _included(errors.share(thick & ~lung.own_side()), "empty", empty)


def _included(share: float, place: str, side: str) -> Iterator[Weighed]:
    if share >= EXTRA_AREA:
        code, told = EXTRA[place]
        sentence = f"{told.format(side=side)}: {_percent(share)} of the reference lung."
        yield share, MaskFinding(code, side, sentence)


def _apart(errors: MaskErrors) -> Iterator[Weighed]:
    """Islands and holes."""
    island, hole = errors.share(errors.islands), errors.share(errors.holes)
    if island >= ISLAND_AREA:
        outside = errors.share(errors.islands & ~errors.hull) >= island / 2
        code = "outside_thorax" if outside else "island"
        where = " outside of the outline around both lungs" if outside else ""
        sentence = f"An area{where} is marked that touches no lung: {_percent(island)}"
        yield island, MaskFinding(code, "", f"{sentence} of the reference lung.")
    if hole >= HOLE_AREA:
        told = f"The prediction has holes: {_percent(hole)} of the reference lung."
        yield hole, MaskFinding("hole", "", told)


def _moved(errors: MaskErrors) -> Iterator[Weighed]:
    if errors.moved:
        way = "outwards" if errors.moved > 0 else "inwards"
        share = _percent(abs(errors.moved) / errors.height)
        sentence = f"The edge is moved {way} all round, by about {share} of the lungs' height."
        weight = abs(errors.share(errors.extra) - errors.share(errors.missed))
        yield weight, MaskFinding(f"edge_{way}", "", sentence)


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
