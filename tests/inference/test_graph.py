from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import StageError
from pipeline.inference.graph import cut_graph, find_conventions, read_conventions, read_graph

SHAPE: list[Any] = ["N", 8, 8, 1]


def value(name: str, shape: list[Any] = SHAPE, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def two_heads() -> Any:
    """A graph as the export writes it: an answer and two heads."""
    nodes = [
        helper.make_node("Mul", ["radiograph", "half"], ["node_1"]),
        helper.make_node("Sigmoid", ["node_1"], ["lung_0_1"]),
        helper.make_node("Mul", ["node_1", "half"], ["node_2"]),
        helper.make_node("Sigmoid", ["node_2"], ["lung_0_2"]),
        helper.make_node("Mean", ["lung_0_1", "lung_0_2"], ["lung"]),
    ]
    outputs = [value("lung"), value("lung_0_1"), value("lung_0_2")]
    half = numpy_helper.from_array(np.full(1, 0.5, np.float32), "half")
    graph = helper.make_graph(nodes, "lungseg", [value("radiograph")], outputs, [half])
    opset = [helper.make_opsetid("", 15)]
    return helper.make_model(graph, ir_version=8, opset_imports=opset)


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def test_a_graph_is_read_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, two_heads().SerializeToString())

    assert read_graph(path) == two_heads()


@pytest.mark.parametrize(
    ("level", "output", "nodes"), [(0, "lung", 5), (1, "lung_0_1", 2), (2, "lung_0_2", 3)]
)
def test_a_level_keeps_only_what_it_needs(
    tmp_path: Path, level: int, output: str, nodes: int
) -> None:
    cut = cut_graph(two_heads(), level, tmp_path / "model.onnx")

    assert [one.name for one in cut.graph.output] == [output]
    assert len(cut.graph.node) == nodes


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>404</html>",
        pickle.dumps({"weights": [1, 2, 3]}),
        zipped(),
        b"\x89HDF\r\n\x1a\n" + bytes(64),
        two_heads().SerializeToString()[:-40],
        two_heads().SerializeToString()[:60],
    ],
    ids=["empty", "html", "pickle", "keras", "hdf5", "cut", "cut early"],
)
def test_a_file_that_is_no_exported_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = saved(tmp_path, content)

    with pytest.raises(StageError, match=r"model\.onnx: not a network that the stage") as info:
        read_graph(path)
    assert "\n" not in str(info.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"No such file.*train it again"):
        read_graph(tmp_path / "model.onnx")


def external_data(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def external_constant(model: Any) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "half")
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def external_sparse_constant(model: Any) -> None:
    values = numpy_helper.from_array(np.zeros(1, np.float32), "values")
    values.external_data.add(key="location", value="weights.bin")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    sparse = helper.make_sparse_tensor(values, indices, [4])
    model.graph.sparse_initializer.append(sparse)


def custom_operator(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def custom_domain(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def function(model: Any) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    opset = [helper.make_opsetid("", 15)]
    model.functions.append(helper.make_function("", "Relu", ["x"], ["y"], [node], opset))


def inner_graph(model: Any) -> None:
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))


def unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "Imaginary"


def colour(model: Any) -> None:
    model.graph.input[0].CopyFrom(value("radiograph", ["N", 8, 8, 3]))


def oblong(model: Any) -> None:
    model.graph.input[0].CopyFrom(value("radiograph", ["N", 8, 16, 1]))


def any_size(model: Any) -> None:
    model.graph.input[0].CopyFrom(value("radiograph", ["N", "S", "S", 1]))


def fixed_batch(model: Any) -> None:
    model.graph.input[0].CopyFrom(value("radiograph", [1, 8, 8, 1]))


def bytes_input(model: Any) -> None:
    model.graph.input[0].CopyFrom(value("radiograph", kind=TensorProto.UINT8))


def other_input(model: Any) -> None:
    model.graph.input[0].name = "image"


def second_input(model: Any) -> None:
    model.graph.input.append(value("other"))


def other_sizes(model: Any) -> None:
    half = numpy_helper.from_array(np.full(3, 0.5, np.float32), "half")
    model.graph.initializer[0].CopyFrom(half)


def other_output(model: Any) -> None:
    model.graph.output[0].name = "liver"


def missing_head(model: Any) -> None:
    del model.graph.output[1]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (external_data, "its weights lie in another file"),
        (external_constant, "its weights lie in another file"),
        (external_sparse_constant, "its weights lie in another file"),
        (custom_operator, "it holds operators of com.example"),
        (custom_domain, "it holds operators of com.example"),
        (function, "it holds operators of its own"),
        (inner_graph, "it holds a graph within a graph"),
        (unknown_operator, "Imaginary"),
        (other_sizes, "ShapeInferenceError"),
        *((change, "expected float32") for change in (colour, oblong, any_size, fixed_batch)),
        *((change, "expected float32") for change in (bytes_input, other_input, second_input)),
        *((change, "expected float32") for change in (other_output, missing_head)),
    ],
)
def test_a_graph_that_the_export_would_not_write_is_refused(
    tmp_path: Path, damage: Callable[[Any], None], reason: str
) -> None:
    model = two_heads()
    damage(model)
    path = saved(tmp_path, model.SerializeToString())

    with pytest.raises(StageError, match=reason) as info:
        read_graph(path)
    assert "\n" not in str(info.value)


def told_graph(names: object = ("standard", "heart"), count: int = 2, made: str = "2") -> Any:
    """A graph that is told its convention, as the export writes it."""
    model = two_heads()
    model.graph.input.append(value("convention", ["N", count]))
    weights = numpy_helper.from_array(np.ones((count, 1), np.float32), "weights")
    shape = numpy_helper.from_array(np.array([-1, 1, 1, 1]), "shape")
    model.graph.initializer.extend([weights, shape])
    nodes = [
        helper.make_node("MatMul", ["convention", "weights"], ["told"]),
        helper.make_node("Reshape", ["told", "shape"], ["each"]),
        helper.make_node("Mul", ["radiograph", "each"], ["asked"]),
    ]
    for node in model.graph.node:
        node.input[:] = ["asked" if name == "radiograph" else name for name in node.input]
    rest = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.metadata_props.add(key="lungseg.format", value=made)
    said = names if isinstance(names, str) else json.dumps(names)
    model.metadata_props.add(key="lungseg.conventions", value=said)
    return model


def test_a_graph_that_is_told_its_convention_is_read_and_cut(tmp_path: Path) -> None:
    path = saved(tmp_path, told_graph().SerializeToString())

    model = read_graph(path)
    cut = cut_graph(model, 1, path)

    assert find_conventions(model) == read_conventions(path) == ("standard", "heart")
    assert [one.name for one in cut.graph.input] == ["radiograph", "convention"]
    assert [one.name for one in cut.graph.output] == ["lung_0_1"]


@pytest.mark.parametrize(
    "names",
    [
        *("", "null", "2", "{}", '"standard"', "[", "[" * 100_000, "[]", "[1, 2]", "[null]"),
        *(["heart", "standard"], ["heart", "heart"], ["standard", "Heart"], ["standard", "a\nb"]),
        *(["standard", ""], [["standard", "heart"]], [f"c{one:03}" for one in range(257)]),
    ],
    ids=lambda names: str(names)[:20],
)
def test_conventions_that_are_no_list_of_names_are_refused(tmp_path: Path, names: object) -> None:
    path = saved(tmp_path, told_graph(names).SerializeToString())

    for read in (read_graph, read_conventions):
        with pytest.raises(StageError, match="expected a list of 1 to 256 different names") as info:
            read(path)
        assert "\n" not in str(info.value)
        assert len(str(info.value)) < 600


def test_conventions_that_are_named_twice_are_refused(tmp_path: Path) -> None:
    model = told_graph()
    model.metadata_props.add(key="lungseg.conventions", value='["a", "b"]')

    with pytest.raises(StageError, match="it names the conventions"):
        read_graph(saved(tmp_path, model.SerializeToString()))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (told_graph(count=3), r"expected float32 .* and \(N, 2\) as convention"),
        (told_graph(["standard"], count=1), "expected float32"),
        (told_graph(["heart"], count=2), "expected float32"),
        (told_graph(made="1"), "it names conventions and its format is 1, expected 2"),
        (told_graph(made="3"), r"its format is 3, this code reads \(1, 2\)"),
    ],
)
def test_conventions_that_do_not_fit_the_graph_are_refused(
    tmp_path: Path, model: Any, reason: str
) -> None:
    with pytest.raises(StageError, match=reason) as info:
        read_graph(saved(tmp_path, model.SerializeToString()))
    assert "\n" not in str(info.value)


def test_a_graph_of_several_conventions_that_is_not_told_is_refused(tmp_path: Path) -> None:
    model = two_heads()
    model.metadata_props.add(key="lungseg.format", value="2")
    model.metadata_props.add(key="lungseg.conventions", value='["standard", "heart"]')

    with pytest.raises(StageError, match="expected float32"):
        read_graph(saved(tmp_path, model.SerializeToString()))


def test_a_graph_of_one_convention_may_name_it(tmp_path: Path) -> None:
    model = two_heads()
    model.metadata_props.add(key="lungseg.format", value="2")
    model.metadata_props.add(key="lungseg.conventions", value='["heart"]')

    assert find_conventions(read_graph(saved(tmp_path, model.SerializeToString()))) == ("heart",)


def test_a_graph_that_names_none_is_of_the_standard(tmp_path: Path) -> None:
    path = saved(tmp_path, two_heads().SerializeToString())

    assert read_conventions(path) == ("standard",)
    with pytest.raises(StageError, match="not a network"):
        read_conventions(saved(tmp_path, b"\x08"))


def test_a_network_without_heads_has_no_levels(tmp_path: Path) -> None:
    model = two_heads()
    del model.graph.output[1:]

    assert cut_graph(model, 0, tmp_path) is model
    with pytest.raises(StageError, match=r"found no level 1, expected 0 .*, it has no other"):
        cut_graph(model, 1, tmp_path)


def test_a_truncation_anywhere_is_refused(tmp_path: Path) -> None:
    content = two_heads().SerializeToString()

    for length in range(len(content)):
        path = saved(tmp_path, content[:length])
        model: onnx.ModelProto | None = None
        with pytest.raises(StageError):
            model = read_graph(path)
        assert model is None
