from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.params import Params

IMAGE = np.random.default_rng(5).integers(0, 256, (64, 64), np.uint8)
LUNG = np.zeros((64, 64), np.bool_)
LUNG[10:50, 8:28] = LUNG[10:50, 36:56] = True


def weigh(network: Any) -> Any:
    from pipeline.explanation.seg_grad_cam import SegGradCam

    return SegGradCam(network).weigh(IMAGE, LUNG)


def build(params: Params, **changes: Any) -> Any:
    import keras

    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(4)
    return build_unetpp(64, params.train.model_copy(update={"filters": [4, 6, 8], **changes}))


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({}, 16),
        ({"deep_supervision": True}, 16),
        ({"filters": [4, 6], "deep_supervision": True}, 32),
        ({"filters": [4] * 6}, 8),  # of 2 positions a side the last, which are too few
        pytest.param({"encoder": "mobilenetv2"}, 8, marks=pytest.mark.slow),
    ],
)
def test_the_map_is_of_the_deepest_node_that_is_fine_enough(
    params: Params, changes: dict[str, Any], side: int
) -> None:
    found = weigh(build(params, **changes))

    assert found.shape == (side, side)
    assert np.isfinite(found).all()
    assert found.std() > 0


def test_a_network_in_mixed_precision_can_be_explained(params: Params) -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = weigh(build(params))
    finally:
        keras.config.set_dtype_policy(before)

    assert np.isfinite(found).all()
    assert found.std() > 0


def test_the_map_follows_its_definition() -> None:
    """Of a network whose slopes are known."""
    from tests.explanation.darkness import darkness

    network = darkness()
    found = weigh(network)

    dark = 1 - IMAGE.reshape(32, 2, 32, 2).mean((1, 3)) / 255
    # A position of the node is spread over 2 x 2 pixels, each of which counts if it is lung.
    slope = 30 * 4 * LUNG.reshape(32, 2, 32, 2).mean((1, 3))
    weights = (slope * (dark > 0.5)).mean(), (-slope * (dark < 0.5)).mean()
    # ReLU behind the transposed convolution lets the slope through only where the feature is on.
    expected = weights[0] * (dark - 0.5).clip(0) + weights[1] * (0.5 - dark).clip(0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_each_convention_has_its_own_map() -> None:
    from pipeline.explanation.seg_grad_cam import SegGradCam
    from tests.explanation.darkness import darkness

    cam = SegGradCam(darkness(2))
    maps = [cam.weigh(IMAGE, LUNG, place) for place in (0, 1)]

    np.testing.assert_allclose(maps[1], -maps[0], rtol=1e-4, atol=1e-4)
    assert maps[0].std() > 0
    np.testing.assert_allclose(maps[0], weigh(darkness()), rtol=1e-4, atol=1e-4)
