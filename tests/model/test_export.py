from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.shards import Shards, encode_record, find_shards, write_shard
from pipeline.params import Params
from tests.augmented import write_summary
from tests.conftest import draw_pair
from tests.model.told_networks import NAMES, trained, write_network

SIDE = 32
CHANGES = [
    {"filters": [4, 6, 8], "deep_supervision": True},
    {"filters": [4, 6], "deep_supervision": True},
    {"filters": [4, 6]},
]
NETWORKS = [CHANGES[0], pytest.param(CHANGES[1], marks=pytest.mark.slow), CHANGES[2]]


def build(params: Params, changes: dict[str, Any], seed: int = 1) -> Any:
    import keras

    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(seed)
    network = build_unetpp(SIDE, params.train.model_copy(update=changes))
    random = np.random.default_rng(seed)
    # As after a training: normalisations are not the identity.
    network.set_weights(
        [weights * random.uniform(0.8, 1.2, weights.shape) for weights in network.get_weights()]
    )
    return network


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("shards")
    records = []
    for i in range(5):
        image, mask = draw_pair(i, SIDE)
        lung = np.asarray(mask.convert("L"))
        records.append(encode_record(f"A/{i}", np.asarray(image), lung))
    write_shard(folder / "val-00000-of-00001.tfrecord", records)
    write_summary(folder, SIDE, val=5)
    return find_shards(folder, "val")


@pytest.mark.slow
@pytest.mark.parametrize("changes", NETWORKS)
def test_an_exported_network_has_a_named_input_and_an_output_for_each_head(
    params: Params, tmp_path: Path, changes: dict[str, Any]
) -> None:
    import onnx

    from pipeline.model.export import export_network

    export_network(build(params, changes), tmp_path / "model.onnx")

    graph = onnx.load(tmp_path / "model.onnx").graph
    heads = len(changes["filters"]) - 1 if "deep_supervision" in changes else 0
    heads = 0 if heads == 1 else heads  # a single one is the answer itself
    assert [one.name for one in graph.input] == ["radiograph"]
    assert [one.name for one in graph.output] == [
        "lung",
        *(f"lung_0_{level + 1}" for level in range(heads)),
    ]
    for value in [*graph.input, *graph.output]:
        sizes = [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        assert sizes == ["N", SIDE, SIDE, 1]
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.slow
@pytest.mark.parametrize("changes", NETWORKS)
def test_an_exported_network_answers_as_the_network_does(
    params: Params, tmp_path: Path, shards: Shards, changes: dict[str, Any]
) -> None:
    from pipeline.model.export import check_export, export_network

    network = build(params, changes)
    export_network(network, tmp_path / "model.onnx")

    assert 0 < check_export(network, tmp_path / "model.onnx", shards) < 1e-5


@pytest.mark.slow
def test_the_check_asks_for_one_radiograph_at_a_time(
    params: Params, tmp_path: Path, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    from pipeline.model.export import check_export, export_network

    network = build(params, CHANGES[0])
    export_network(network, tmp_path / "model.onnx")
    original, asked = keras.Model.predict_on_batch, []

    def predict_on_batch(model: keras.Model, radiographs: Any) -> Any:
        asked.append(len(radiographs))
        return original(model, radiographs)

    monkeypatch.setattr(keras.Model, "predict_on_batch", predict_on_batch)

    check_export(network, tmp_path / "model.onnx", shards)

    assert asked == [1] * shards.records


@pytest.mark.slow
def test_equal_networks_are_equal_files(params: Params, tmp_path: Path) -> None:
    from pipeline.model.export import export_network

    for name in ("one", "other"):
        export_network(build(params, CHANGES[0]), tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.slow
def test_the_export_of_another_network_is_refused(
    params: Params, tmp_path: Path, shards: Shards
) -> None:
    from pipeline.model.export import check_export, export_network

    export_network(build(params, CHANGES[2], seed=2), tmp_path / "model.onnx")

    with pytest.raises(StageError, match=r"level 0 differs from .* on 5 validation .* 0\.0001;"):
        check_export(build(params, CHANGES[2]), tmp_path / "model.onnx", shards)


@pytest.mark.slow
def test_a_single_wrong_head_is_refused(params: Params, tmp_path: Path, shards: Shards) -> None:
    import onnx

    from pipeline.model.export import check_export, export_network

    network = build(params, {"filters": [4, 6, 8], "deep_supervision": True})
    export_network(network, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    # `lung` is the last head's, so only the first one's own answer is turned round.
    head = next(node for node in model.graph.node if "lung_0_1" in node.output)
    wrong = onnx.helper.make_node("Neg", ["right"], ["lung_0_1"])
    for node in model.graph.node:
        node.input[:] = ["right" if name == "lung_0_1" else name for name in node.input]
    head.output[:] = ["right"]
    model.graph.node.append(wrong)
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(StageError, match="level 1 differs from the network"):
        check_export(network, tmp_path / "model.onnx", shards)


@pytest.mark.slow
def test_a_told_network_is_compared_in_every_convention(params: Params, tmp_path: Path) -> None:
    import onnx

    from pipeline.inference.graph import find_conventions, find_format
    from pipeline.model.export import check_export

    shards = replace(write_told(tmp_path), conventions=NAMES)
    network = trained(params, 3, deep_supervision=True)
    path = write_network(network, tmp_path / "network", NAMES) / "model.onnx"

    model = onnx.load(path)
    assert find_conventions(model) == NAMES
    assert find_format(model) == 2
    assert [one.name for one in model.graph.input] == ["radiograph", "convention"]
    assert 0 < check_export(network, path, shards) < 1e-5
    weights = network.get_layer("x_0_0_shift").get_weights()
    network.get_layer("x_0_0_shift").set_weights([weights[0] + [[0], [0], [1]]])
    with pytest.raises(StageError, match=r"^model\.onnx: level 0 in wide differs from the network"):
        check_export(network, path, shards)


def write_told(folder: Path) -> Shards:
    image, mask = (np.asarray(one.convert("L")) for one in draw_pair(1, SIDE))
    records = [encode_record(f"A/{place}", image, mask, place) for place in (1, 0, 2)]
    write_shard(folder / "val-00000-of-00001.tfrecord", records)
    write_summary(folder, SIDE, val=3)
    return find_shards(folder, "val")


@pytest.mark.slow
def test_a_network_of_one_other_convention_names_it(params: Params, tmp_path: Path) -> None:
    from pipeline.inference.graph import read_conventions, read_format
    from pipeline.model.export import export_network

    network = trained(params, 1)
    for names, made in ((("heart",), 2), (("standard",), 1)):
        export_network(network, tmp_path / names[0], names)
        assert read_conventions(tmp_path / names[0]) == names
        assert read_format(tmp_path / names[0]) == made
    export_network(network, tmp_path / "without")
    assert (tmp_path / "without").read_bytes() == (tmp_path / "standard").read_bytes()
    assert b"lungseg.conventions" not in (tmp_path / "without").read_bytes()
