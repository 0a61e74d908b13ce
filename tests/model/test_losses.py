from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def losses() -> Any:
    from pipeline.model import losses

    return losses


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(1).choice(np.float32([0, 0.25, 0.5, 1]), (3, 8, 8, 1))


@pytest.fixture
def heads() -> np.ndarray:
    return np.random.default_rng(2).uniform(0.01, 0.99, (3, 8, 8, 2)).astype(np.float32)


def bce(truth: np.ndarray, heads: np.ndarray) -> np.ndarray:
    values = -truth * np.log(heads) - (1 - truth) * np.log(1 - heads)
    return np.asarray(values.mean(axis=(1, 2, 3)))


def test_cross_entropy_is_the_mean_over_pixels_and_heads(
    losses: Any, truth: np.ndarray, heads: np.ndarray
) -> None:
    found = losses.loss_function("binary_crossentropy")(truth, heads)

    np.testing.assert_allclose(found, bce(truth, heads), rtol=1e-4)


def test_bce_dice_adds_one_minus_soft_dice_of_each_radiograph(
    losses: Any, truth: np.ndarray, heads: np.ndarray
) -> None:
    overlap = (truth * heads).sum(axis=(1, 2))
    dice = (2 * overlap + 1) / (truth.sum(axis=(1, 2)) + heads.sum(axis=(1, 2)) + 1)

    found = losses.loss_function("bce_dice")(truth, heads)

    np.testing.assert_allclose(found, bce(truth, heads) + 1 - dice.mean(axis=-1), rtol=1e-4)


def test_metrics_are_those_of_the_last_head(
    losses: Any, truth: np.ndarray, heads: np.ndarray
) -> None:
    mask, lung = heads[..., -1:] >= 0.5, truth >= 0.5
    overlap = 2 * (mask & lung).sum(axis=(1, 2, 3))
    total = mask.sum(axis=(1, 2, 3)) + lung.sum(axis=(1, 2, 3))

    np.testing.assert_allclose(losses.dice(truth, heads), overlap / total, rtol=1e-5)
    np.testing.assert_allclose(
        losses.iou(truth, heads), overlap / 2 / (total - overlap / 2), rtol=1e-5
    )
    right = (mask == lung).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.accuracy(truth, heads), right, rtol=1e-5)


@pytest.mark.parametrize("metric", ["dice", "iou"])
@pytest.mark.parametrize(("probability", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_overlap_with_an_empty_mask_is_one_only_when_the_answer_is_empty(
    losses: Any, metric: str, probability: float, expected: float
) -> None:
    empty = np.zeros((1, 4, 4, 1), np.float32)

    found = getattr(losses, metric)(empty, np.full((1, 4, 4, 1), probability, np.float32))

    assert np.asarray(found).tolist() == [expected]
