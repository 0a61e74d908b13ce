from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.validation.medial_borders import (
    HEIGHTS,
    borders_of,
    gaps,
    lung_frame,
    measure_borders,
)
from tests.dataset.validation.heart_masks import lungs_of


def two_boxes() -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    mask[10:90, 10:40] = 1
    mask[20:80, 60:90] = 1
    return mask


def measured(*masks: np.ndarray) -> np.ndarray:
    return borders_of(pd.DataFrame([measure_borders(mask) for mask in masks]))


def test_borders_are_shares_of_the_width_of_both_lungs() -> None:
    (borders,) = measured(two_boxes())

    assert borders.shape == (HEIGHTS, 2)
    assert borders[:, 0] == pytest.approx(30 / 80, abs=0.001)
    assert borders[:, 1] == pytest.approx(50 / 80, abs=0.001)
    assert gaps(borders) == pytest.approx(20 / 80, abs=0.001)


def test_heights_lie_where_both_lungs_are() -> None:
    frame = lung_frame(two_boxes())

    assert frame is not None
    assert (frame.start, frame.width) == (10, 80)
    assert 30 < frame.rows[0] < frame.rows[-1] < 70


def test_a_place_and_a_size_of_the_lungs_change_nothing() -> None:
    moved = np.zeros((150, 180), np.uint8)
    moved[40:140, 60:160] = two_boxes()

    large = np.kron(two_boxes(), np.ones((4, 4), np.uint8))

    assert measure_borders(moved) == measure_borders(two_boxes()) == measure_borders(large)


def test_strays_count_for_nothing() -> None:
    mask = two_boxes()
    mask[2:5, 2:5] = mask[45:48, 49:52] = 1

    assert measure_borders(mask) == measure_borders(two_boxes())


@pytest.mark.parametrize(
    "box", [(slice(10, 90), slice(10, 40)), (slice(10, 90), slice(10, 90))], ids=["one", "joined"]
)
def test_a_mask_of_one_part_has_no_borders(box: tuple[slice, slice]) -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[box] = 1

    assert measure_borders(mask) == ("", "")
    assert lung_frame(mask) is None


def test_a_small_second_part_is_no_lung() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[10:90, 10:40], mask[40:45, 60:70] = 1, 1

    assert measure_borders(mask) == ("", "")


def test_parts_above_one_another_have_no_borders() -> None:
    assert measure_borders(np.rot90(two_boxes()).copy()) == ("", "")


def test_a_mask_that_leaves_the_heart_out_has_the_wider_gap_below() -> None:
    without, within = gaps(measured(lungs_of(1, heart=False), lungs_of(1, heart=True)))

    assert without[0] < without[-1] - 0.1
    assert within[-1] < without[-1] / 1.8


def test_a_table_without_rows_has_no_borders() -> None:
    assert borders_of(pd.DataFrame({"medial_left": [], "medial_right": []})).shape == (0, 10, 2)
