from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipeline.evaluation.lung_sides import reference_lungs
from pipeline.evaluation.mask_findings import MaskFinding, find_mask_findings

Mask = NDArray[np.uint8]
SIDE = 128
ANGLE = "costophrenic_angle_missed"
RIGHT, LEFT = (38, 64), (90, 64)


def ellipse(centre: tuple[int, int], axes: tuple[int, int] = (18, 42), side: int = SIDE) -> Mask:
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
    return mask


def lungs() -> Mask:
    return ellipse(RIGHT) | ellipse(LEFT)


def changed(value: int, rows: tuple[int, int], columns: tuple[int, int]) -> Mask:
    mask = lungs()
    mask[slice(*rows), slice(*columns)] = value
    return mask


def kinds(found: tuple[MaskFinding, ...]) -> list[tuple[str, str]]:
    return [(one.code, one.side) for one in found]


DRAWN = {
    "right costophrenic angle": (changed(0, (84, 128), (0, 38)), ANGLE, "right"),
    "left costophrenic angle": (changed(0, (84, 128), (90, 128)), ANGLE, "left"),
    "base": (changed(0, (90, 128), (64, 128)), "base_missed", "left"),
    "apex": (changed(0, (0, 34), (0, 64)), "apex_missed", "right"),
    "medial": (changed(0, (50, 78), (48, 64)), "medial_region_missed", "right"),
    "lateral edge": (changed(0, (50, 78), (98, 128)), "lung_part_missed", "left"),
    "one lung": (ellipse(RIGHT), "lung_missed", "left"),
    "most of a lung": (changed(0, (50, 128), (64, 128)), "lung_half_missed", "left"),
    "between the lungs": (changed(1, (55, 75), (64, 75)), "heart_region_included", "left"),
    "beyond the side": (changed(1, (55, 75), (0, 30)), "outside_thorax", "right"),
    "below": (changed(1, (90, 118), (84, 96)), "region_below_included", "left"),
    "above": (changed(1, (10, 30), (32, 44)), "region_above_included", "right"),
    "far away": (changed(1, (2, 12), (2, 12)), "outside_thorax", ""),
    "island between": (changed(1, (60, 70), (60, 68)), "island", ""),
    "hole": (changed(0, (60, 66), (34, 42)), "hole", ""),
    "grown": (cv2.dilate(lungs(), np.ones((5, 5), np.uint8)), "edge_outwards", ""),
    "shrunk": (cv2.erode(lungs(), np.ones((5, 5), np.uint8)), "edge_inwards", ""),
    "nothing marked": (np.zeros_like(lungs()), "empty_prediction", ""),
    "all marked": (np.ones_like(lungs()), "everything_marked", ""),
    "equal": (lungs(), "equal", ""),
    "a pixel more": (changed(1, (64, 65), (56, 59)), "nothing_stands_out", ""),
}  # fmt: skip


@pytest.mark.parametrize(("prediction", "code", "side"), DRAWN.values(), ids=DRAWN)
def test_each_kind_of_error_is_named_alone(prediction: Mask, code: str, side: str) -> None:
    assert kinds(find_mask_findings(lungs(), prediction)) == [(code, side)]


@pytest.mark.parametrize("name", [name for name, one in DRAWN.items() if one[2]])
def test_sides_change_with_the_picture(name: str) -> None:
    prediction, code, side = DRAWN[name]
    other = {"left": "right", "right": "left"}[side]

    found = find_mask_findings(lungs()[:, ::-1].copy(), prediction[:, ::-1].copy())

    assert kinds(found) == [(code, other)]


@pytest.mark.parametrize(("prediction", "code", "side"), DRAWN.values(), ids=DRAWN)
def test_the_same_is_said_at_any_resolution(prediction: Mask, code: str, side: str) -> None:
    larger = [mask.repeat(4, 0).repeat(4, 1) for mask in (lungs(), prediction)]

    assert kinds(find_mask_findings(*larger)) == [(code, side)]


def test_sentences_give_the_share_of_the_reference() -> None:
    prediction = changed(0, (84, 128), (0, 38))
    share = np.count_nonzero(lungs() - prediction) / np.count_nonzero(lungs())

    (found,) = find_mask_findings(lungs(), prediction)

    assert found.sentence == (
        f"The right costophrenic angle is missed: {share * 100:.1f} % of the reference lung."
    )


def test_what_is_larger_comes_first_and_a_lost_lung_before_all() -> None:
    prediction = ellipse(RIGHT)
    prediction[2:20, 100:126] = 1
    prediction[60:66, 34:42] = 0

    found = find_mask_findings(lungs(), prediction)

    assert [one.code for one in found] == ["lung_missed", "outside_thorax", "hole"]


def test_parts_of_one_place_are_told_together() -> None:
    prediction = changed(0, (40, 52), (46, 64))
    prediction[66:78, 46:64] = 0

    assert kinds(find_mask_findings(lungs(), prediction)) == [("medial_region_missed", "right")]


def test_a_tip_is_said_to_be_missed_however_narrow_it_is() -> None:
    truth = lungs()
    truth[100:118, 26:28] = 1

    (found,) = find_mask_findings(truth, lungs())

    assert found.code == ANGLE
    assert found.sentence.startswith("The tip of the right costophrenic angle is missed: 0.4 %")


def test_a_zone_that_is_a_small_part_of_what_is_missed_is_said_to_be() -> None:
    prediction = changed(0, (0, 52), (0, 64))

    (found,) = find_mask_findings(lungs(), prediction)

    assert found.sentence.startswith("The apex of the right lung, with what adjoins it, is missed")


@pytest.mark.parametrize(
    ("prediction", "sentence"),
    [
        (np.zeros((8, 8), np.uint8), "The reference holds no lung; nothing is marked."),
        (
            np.eye(8, dtype=np.uint8),
            "The reference holds no lung; 12.5 % of the picture is marked.",
        ),
    ],
)
def test_a_reference_without_lung_is_said_to_be(prediction: Mask, sentence: str) -> None:
    (found,) = find_mask_findings(np.zeros((8, 8), np.uint8), prediction)

    assert (found.code, found.sentence) == ("empty_reference", sentence)


def test_one_lung_in_the_reference_is_said_last() -> None:
    prediction = ellipse(RIGHT)
    prediction[40:80, 90:110] = 1
    prediction[60:62, 50:100] = 1

    found = find_mask_findings(ellipse(RIGHT), prediction)

    assert kinds(found) == [("side_without_lung_marked", "left"), ("one_reference_lung", "right")]


def test_a_speck_beside_the_only_lung_of_the_reference_is_no_lung() -> None:
    reference = ellipse(RIGHT)
    reference[60:62, 90:93] = 1

    found = find_mask_findings(reference, ellipse(RIGHT))

    assert [lung.side for lung in reference_lungs(reference, midline=64)] == ["right"]
    assert kinds(found) == [("nothing_stands_out", ""), ("one_reference_lung", "right")]


def test_lungs_that_touch_are_two() -> None:
    joined = lungs()
    joined[60:64, 38:90] = 1

    found = reference_lungs(joined, midline=64)

    assert [(lung.side, lung.box[2:]) for lung in found] == [
        ("right", (20, 64)),
        ("left", (64, 109)),
    ]


def test_surroundings_do_not_overlap_and_leave_nothing_out() -> None:
    for lung in reference_lungs(lungs(), midline=64):
        covered = sum(region.astype(int) for region in lung.surroundings().values())
        assert np.array_equal(covered, lung.own_side() & ~lung.mask)


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction is \(2, 3\), truth is \(3, 2\)"):
        find_mask_findings(np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.uint8))


SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


@given(SIZES.flatmap(lambda size: arrays(np.uint8, (2, *size), elements=st.integers(0, 1))))
def test_something_is_said_of_any_two_masks(masks: Mask) -> None:
    found = find_mask_findings(masks[0], masks[1])

    assert found
    assert all(one.sentence.endswith(".") and one.side in ("", "left", "right") for one in found)


BLOTS = st.lists(
    st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(0, 30)] * 2), min_size=0, max_size=4
)


@given(BLOTS, BLOTS)
def test_something_is_said_of_any_two_drawings(truth: list, marked: list) -> None:  # type: ignore[type-arg]
    masks = np.zeros((2, 64, 60), np.uint8)
    for mask, blots in zip(masks, (truth, marked), strict=True):
        for x, y, width, height in blots:
            mask[y : y + height, x : x + width] = 1

    assert find_mask_findings(*masks)
