from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import ServiceError
from pipeline.params import Params

ESPRESSO = 967
"""Among ImageNet's classes."""


def build(params: Params, **changes: Any) -> Any:
    from pipeline.model.unetpp import build_unetpp

    lite = {"encoder": "efficientnetlite0", "encoder_weights": "imagenet", "filters": [4, 6, 8]}
    return build_unetpp(32, params.train.model_copy(update=lite | changes))


@pytest.mark.slow
def test_its_last_features_know_a_cup_of_coffee() -> None:
    """With the head of the same file, which the encoder leaves away, in NumPy."""
    from skimage import data

    from pipeline.model import efficientnet_lite

    coffee = data.coffee()[:, 100:500]
    image = cv2.resize(coffee, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32)
    weights = efficientnet_lite.read_weights()
    scale, offset = efficientnet_lite.SCALE
    network = efficientnet_lite.build(224, "imagenet")

    features = network.predict_on_batch(image[None] * scale + offset)[-1]

    wide = features @ weights["_conv_head.weight"][:, :, 0, 0].T
    norm = {part: weights[f"_bn1.{part}"] for part in efficientnet_lite.NORM_PARTS}
    centred = (wide - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-3)
    active = np.clip(centred * norm["weight"] + norm["bias"], 0, 6)
    scores = active.mean((1, 2)) @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert scores.argmax() == ESPRESSO


def test_features_halve_the_image_each_time() -> None:
    from pipeline.model import efficientnet_lite

    shapes = [output.shape[1:] for output in efficientnet_lite.build(64, None).outputs]

    assert shapes == [(32, 32, 16), (16, 16, 24), (8, 8, 40), (4, 4, 112), (2, 2, 320)]


def test_random_weights_need_no_package(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.model import efficientnet_lite

    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")

    assert build(params, encoder_weights=None).output_shape == (None, 32, 32, 1)


def test_a_missing_package_is_named(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.model import efficientnet_lite

    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")

    with pytest.raises(
        ServiceError, match=r"train\.encoder_weights: found no package no_such_package.*null"
    ):
        build(params)


@pytest.mark.parametrize("content", [None, b"", b"other weights"])
def test_a_file_that_is_not_the_known_one_is_not_read(
    params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    from pipeline.model import efficientnet_lite

    package = tmp_path / "weights_of_another"
    package.mkdir()
    (package / "__init__.py").touch()
    if content is not None:
        (package / "model.pth").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", package.name)
    monkeypatch.setattr(efficientnet_lite, "FILE", "model.pth")

    with pytest.raises(ServiceError, match=r"model\.pth: found .*, expected.*install"):
        build(params)


@pytest.mark.slow
def test_a_network_with_it_is_exported_whole(params: Params, tmp_path: Path) -> None:
    from pipeline.inference.predictor import Predictor
    from pipeline.model.export import export_network

    network = build(params, deep_supervision=True)
    radiograph = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)

    export_network(network, tmp_path / "model.onnx")

    found = Predictor(tmp_path / "model.onnx").predict([radiograph])[0]
    expected = network.predict_on_batch(radiograph[None, ..., None].astype(np.float32))
    np.testing.assert_allclose(found, expected[0, ..., 0], atol=1e-4)
