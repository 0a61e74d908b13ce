from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.evaluation.boundary import BorderScores, border_scores
from pipeline.radiograph.reading import read_mask

CROSS = ndimage.generate_binary_structure(2, 1)


def by_scipy(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> BorderScores:
    ours, theirs = (
        mask & ~ndimage.binary_erosion(mask, CROSS) for mask in (prediction == 1, truth == 1)
    )
    to_theirs = ndimage.distance_transform_edt(~theirs)[ours]
    to_ours = ndimage.distance_transform_edt(~ours)[theirs]
    distances = np.concatenate([to_theirs, to_ours])
    return BorderScores(
        np.percentile(distances, 95), distances.mean(), np.mean(distances <= 2, dtype=float)
    )


def changed(mask: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The mask moved by some pixels, with an island added and its border roughened."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 6)
    inside = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(1 - mask)
    found = (np.roll(inside, tuple(rng.integers(-6, 7, 2)), (0, 1)) + 60 * noise > 0).astype(
        np.uint8
    )
    y, x = rng.integers(0, mask.shape[0] - 8, 2)
    found[y : y + 8, x : x + 8] = 1
    return found


def test_a_moved_square_is_as_far_as_it_was_moved() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:20, 10:20] = 1

    found = border_scores(np.roll(truth, 3, axis=1), truth)

    assert found.hd95 == 3
    assert 0 < found.assd < 3
    assert 0 < found.nsd < 1
    assert border_scores(truth, truth) == (0, 0, 1)


@given(*[arrays(np.uint8, (12, 15), elements=st.integers(0, 1)) for _ in range(2)])
def test_distances_are_those_of_scipy(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8]
) -> None:
    if prediction.any() and truth.any():
        assert border_scores(prediction, truth) == pytest.approx(by_scipy(prediction, truth))


def test_distances_on_real_masks_are_exactly_those_of_scipy(real_data: Path) -> None:
    masks = sorted(real_data.glob("COVID-19_Radiography_Dataset/*/masks/*.png"))[::40]

    for seed, path in enumerate(masks):
        truth = read_mask(path)
        found = changed(truth, seed)
        ours, theirs = border_scores(found, truth), by_scipy(found, truth)
        assert (ours.hd95, ours.nsd) == (theirs.hd95, theirs.nsd), path.name
        assert ours.assd == pytest.approx(theirs.assd, rel=1e-14), path.name  # order of the sum
    assert len(masks) > 10


@pytest.mark.parametrize(
    ("found", "lung", "expected"),
    [
        (0, 0, (0, 0, 1)),
        (1, 0, (math.hypot(30, 40), math.hypot(30, 40), 0)),
        (0, 1, (math.hypot(30, 40), math.hypot(30, 40), 0)),
        (1, 1, (0, 0, 1)),
    ],
)
def test_empty_masks_agree_with_each_other_alone(
    found: int, lung: int, expected: tuple[float, ...]
) -> None:
    prediction, truth = np.full((30, 40), found, np.uint8), np.full((30, 40), lung, np.uint8)

    assert border_scores(prediction, truth) == expected
