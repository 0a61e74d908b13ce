from __future__ import annotations

from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from pipeline.errors import ParamsError, ServiceError
from pipeline.model.encoders import _segmentation_models
from pipeline.params import ENCODERS, Params
from pipeline.params_file import check_override
from tests.conftest import PROJECT


def build(
    params: Params, image_size: int = 32, *, synchronized: bool = False, **changes: Any
) -> Any:
    from pipeline.model.unetpp import build_unetpp

    wanted = params.train.model_copy(update={"filters": [4, 6, 8], **changes})
    return build_unetpp(image_size, wanted, synchronized=synchronized)


@pytest.mark.parametrize("name", ["resnet35", "efficientnetb0", "densenet121", ""])
def test_unusable_encoder_is_refused_with_the_usable_ones(name: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"train.encoder: found '{name}'; expected one of plain, .*resnet34"
    ):
        check_override(PROJECT / "params.yaml", [f"train.encoder='{name}'"])


@pytest.mark.parametrize("name", ENCODERS[2:])
def test_named_encoders_are_those_of_segmentation_models(name: str) -> None:
    assert name in _segmentation_models().get_available_backbone_names()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "reason"),
    [("densenet121", "cannot be built"), ("seresnet18", "holds Lambda, which cannot be loaded")],
)
def test_encoder_that_would_not_load_again_is_refused(
    params: Params, encoder: str, reason: str
) -> None:
    with pytest.raises(ParamsError, match=rf"train\.encoder: {encoder} {reason}"):
        build(params, encoder=encoder)


def test_more_depths_than_a_backbone_has_are_refused() -> None:
    changes = [
        "train.encoder=resnet18",
        "train.filters=[4, 4, 4, 4, 4, 4]",
        "augment.image_size=64",
    ]

    with pytest.raises(ParamsError, match=r"filters has 6 depths, the backbone resnet18 5; give"):
        check_override(PROJECT / "params.yaml", changes)


@pytest.mark.parametrize("error", [URLError("no route"), Exception("URL fetch failure on x")])
def test_unreachable_imagenet_weights_are_one_line(
    params: Params, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import keras

    def unreachable(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(keras.utils, "get_file", unreachable)

    with pytest.raises(ServiceError, match=r"weights of resnet18 cannot be fetched.*null") as info:
        build(params, encoder="resnet18", encoder_weights="imagenet")
    assert "\n" not in str(info.value)


def test_a_fault_of_another_kind_is_not_hidden(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def broken(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(keras.utils, "get_file", broken)

    with pytest.raises(ZeroDivisionError):
        build(params, encoder="resnet18", encoder_weights="imagenet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "middle", "half"), [("mobilenetv2", 127.5, 127.5), ("efficientnetlite0", 127, 128)]
)
def test_grey_reaches_the_backbone_scaled_as_its_authors_scaled_it(
    params: Params, encoder: str, middle: float, half: float
) -> None:
    import keras

    network = build(params, encoder=encoder)
    scaled = keras.Model(network.input, network.get_layer("scale").output)
    radiograph = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32, 1) % 256

    found = scaled.predict_on_batch(radiograph)

    expected = np.repeat((radiograph - middle) / half, 3, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_a_backbone_forgets_its_first_means_as_fast_as_the_decoder(params: Params) -> None:
    import keras

    network = build(params, encoder="mobilenetv2")

    layers = [*network.layers, *network.get_layer("encoder").layers]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > 20
    assert {norm.momentum for norm in norms} == {0.9}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["plain", "mobilenetv2", "efficientnetlite0"])
def test_on_several_devices_every_normalisation_is_over_the_whole_batch(
    params: Params, encoder: str
) -> None:
    import keras

    network = build(params, encoder=encoder, synchronized=True)

    layers = [layer for layer in network._flatten_layers() if type(layer).__name__ != "Functional"]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) > (3 if encoder == "plain" else 20)
    assert all(norm.synchronized for norm in norms)
