from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ParamsError
from pipeline.params import Params, TrainParams

RADIOGRAPHS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)

PREDICT_WITHOUT_THIS_CODE = """
import sys
import keras, numpy
network = keras.models.load_model(sys.argv[1], safe_mode=True)
assert not any(name.startswith(("pipeline", "segmentation_models")) for name in sys.modules)
numpy.save(sys.argv[3], network.predict_on_batch(numpy.load(sys.argv[2])))
"""


def small(params: Params, **changes: Any) -> TrainParams:
    return params.train.model_copy(update={"filters": [4, 6, 8], **changes})


def build(params: TrainParams, image_size: int = 32) -> Any:
    from pipeline.model.unetpp import build_unetpp

    return build_unetpp(image_size, params)


def conv_parameters(inputs: int, outputs: int, kernel: int = 3) -> int:
    return kernel * kernel * inputs * outputs


def node_parameters(inputs: int, filters: int) -> int:
    norm = 4 * filters
    return conv_parameters(inputs, filters) + conv_parameters(filters, filters) + 2 * norm


def test_network_has_the_nodes_of_the_paper_and_as_many_parameters(params: Params) -> None:
    network = build(small(params))
    up = {i: 4 * f * g + f for i, (f, g) in enumerate([(4, 6), (6, 8)])}

    expected = (
        node_parameters(1, 4)
        + node_parameters(4, 6)
        + node_parameters(6, 8)
        + (up[0] + node_parameters(4 + 4, 4))  # X^{0,1} = H([X^{0,0}, up X^{1,0}])
        + (up[1] + node_parameters(6 + 6, 6))  # X^{1,1}
        + (up[0] + node_parameters(4 + 4 + 4, 4))  # X^{0,2} = H([X^{0,0}, X^{0,1}, up X^{1,1}])
        + 4  # 1 x 1 convolution
        + 1
    )

    names = {layer.name for layer in network.layers}
    assert {"x_0_0", "x_1_0", "x_2_0", "x_0_1", "x_1_1", "x_0_2"} <= names
    assert network.count_params() == expected


def test_network_maps_grey_values_to_probabilities(params: Params) -> None:
    network = build(small(params))

    lung = network.predict_on_batch(RADIOGRAPHS)

    assert network.input.name == "radiograph"
    assert network.output_names == ["lung"]
    assert lung.shape == (2, 32, 32, 1)
    assert lung.dtype == np.float32
    assert 0 <= lung.min() < lung.max() <= 1


def test_radiographs_are_scaled_inside_the_network(params: Params) -> None:
    network = build(small(params))

    assert network.get_layer("scale").scale == 1 / 255


def test_deep_supervision_trains_every_head_and_the_last_one_answers(params: Params) -> None:
    from pipeline.model.unetpp import supervised

    network = build(small(params, deep_supervision=True))
    heads = supervised(network)

    found = heads.predict_on_batch(RADIOGRAPHS)

    assert found.shape == (2, 32, 32, 2)
    assert not np.allclose(found[..., 0], found[..., 1])
    np.testing.assert_allclose(network.predict_on_batch(RADIOGRAPHS), found[..., -1:], atol=1e-6)
    assert heads.count_params() == network.count_params()


def test_deep_supervision_of_the_shallowest_network_has_one_head(params: Params) -> None:
    from pipeline.model.unetpp import supervised

    network = build(small(params, filters=[4, 6], deep_supervision=True))

    assert supervised(network).output_shape == (None, 32, 32, 1)
    assert network.output_names == ["lung"]


@pytest.mark.parametrize(
    ("image_size", "sizes"), [(30, "28 or 32"), (33, "32 or 36"), (3, "to 4$")]
)
def test_size_that_cannot_be_halved_is_refused_with_sizes_that_can(
    params: Params, image_size: int, sizes: str
) -> None:
    with pytest.raises(ParamsError, match=rf"augment\.image_size: found {image_size}.*{sizes}"):
        build(small(params), image_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"deep_supervision": True},
        {"encoder": "resnet18", "filters": [4, 6, 8, 8]},
        {"encoder": "mobilenetv2"},
    ],
    ids=["plain", "resnet18", "mobilenetv2"],
)
def test_saved_network_answers_the_same_in_safe_mode_without_this_code(
    params: Params, tmp_path: Path, changes: dict[str, Any]
) -> None:
    from pipeline.model.keras_file import save_network

    network = build(small(params, **changes))
    save_network(network, tmp_path / "model.keras")
    np.save(tmp_path / "radiographs.npy", RADIOGRAPHS)
    paths = [str(tmp_path / name) for name in ("model.keras", "radiographs.npy", "lung.npy")]

    command = [sys.executable, "-I", "-c", PREDICT_WITHOUT_THIS_CODE, *paths]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    expected = network.predict_on_batch(RADIOGRAPHS)
    np.testing.assert_array_equal(np.load(tmp_path / "lung.npy"), expected)


@pytest.mark.slow
def test_equal_networks_are_equal_files(params: Params, tmp_path: Path) -> None:
    import keras

    from pipeline.model.keras_file import save_network

    for name in ("one", "other"):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        save_network(build(small(params)), tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
