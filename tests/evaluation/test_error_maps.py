from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluation.error_maps import GRID, MARGIN, align_errors, average_errors


def square(top: int, left: int, side: int) -> NDArray[np.uint8]:
    mask = np.zeros((200, 240), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(("top", "left", "side"), [(20, 30, 60), (80, 100, 90), (0, 0, 40)])
def test_lungs_of_any_size_and_place_lie_on_one_another(top: int, left: int, side: int) -> None:
    truth = square(top, left, side)

    aligned = align_errors(truth, truth)

    assert aligned is not None
    edge = round(GRID * MARGIN / (1 + 2 * MARGIN))
    rows, columns = np.nonzero(aligned.lung)
    for found in (rows, columns):
        assert abs(found.min() - edge) <= 1
        assert abs(found.max() - (GRID - 1 - edge)) <= 1
    assert not aligned.missed.any()
    assert not aligned.extra.any()


def test_what_is_missed_and_extra_is_found_at_its_place() -> None:
    truth, prediction = square(40, 40, 100), square(40, 90, 100)

    aligned = align_errors(truth, prediction)

    assert aligned is not None
    assert np.nonzero(aligned.missed)[1].max() < GRID / 2 + 1
    assert np.nonzero(aligned.extra)[1].min() > GRID / 2 + 1
    assert not (aligned.extra & aligned.lung).any()


def test_without_reference_lung_nothing_can_be_aligned() -> None:
    empty = square(0, 0, 0)

    assert align_errors(empty, square(1, 1, 50)) is None
    assert average_errors([]) is None


def test_a_map_is_the_share_of_the_radiographs() -> None:
    truth = square(40, 40, 100)
    aligned = [align_errors(truth, truth), align_errors(truth, square(0, 0, 0))]

    average = average_errors([one for one in aligned if one is not None])

    assert average is not None
    assert average.cases == 2
    assert average.missed[GRID // 2, GRID // 2] == 0.5
    assert average.lung[GRID // 2, GRID // 2] == 1
