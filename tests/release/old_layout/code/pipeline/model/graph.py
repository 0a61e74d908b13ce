"""The ONNX graph of a network: looked through before it is run, and cut to one of its heads.

Part of the released model, so it imports nothing of the project but its errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

INPUT, ANSWER, HEAD = "radiograph", "lung", "lung_0_"


def read_graph(path: Path) -> Any:
    """The onnx.ModelProto of a file that `pipeline.model.export` wrote.

    Its input is `radiograph`, float32 (N, S, S, 1), its outputs are `lung` and, of a network with
    deep supervision, the heads `lung_0_1` ... `lung_0_L`, all of the input's shape. Raises
    StageError for anything else, for operators beyond ONNX' own and for weights in other files;
    nothing of the graph is run, and no other file is opened.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
        _check(model)
        onnx.checker.check_model(model, full_check=True)
    except (
        OSError,
        ValueError,
        DecodeError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise unusable(path, error) from None
    return model


def cut_graph(model: Any, level: int, path: Path) -> Any:
    """The part of a graph that its answer needs, or that its head `level` alone needs.

    Level j of a U-Net++ (Zhou et al. 2018, arXiv 1807.10165, fast mode) is the head on X^{0,j};
    level 0 is the network's whole answer. Raises StageError when the network has no such head.
    """
    from onnx.utils import Extractor

    output = f"{HEAD}{level}" if level else ANSWER
    outputs = [one.name for one in model.graph.output]
    if output not in outputs:
        others = f" to {len(outputs) - 1}" if len(outputs) > 1 else ", it has no other"
        raise StageError(
            f"{path}: found no level {level}, expected 0 (the whole network){others}; train with "
            "train.deep_supervision for the levels of its depth",
        )
    if len(outputs) == 1:
        return model
    return Extractor(model).extract_model([INPUT], [output])


def unusable(path: Path, error: Exception) -> StageError:
    """The error for a file that is no network of ours, in one line."""
    return StageError(
        f"{path}: not a network that the stage train exported "
        f"({' '.join(str(error).split())[:200]}); train it again or pull it from its source",
    )


def _check(model: Any) -> None:
    """Raise ValueError for what an exported network does not have."""
    _check_signature(model.graph)
    domains = {one.domain for one in [*model.opset_import, *model.graph.node]} - {"", "ai.onnx"}
    if domains or model.functions or model.training_info:
        raise ValueError(
            f"it holds operators of {', '.join(sorted(domains)) or 'its own'}, expected ONNX' only"
        )
    if any(tensor.data_location or tensor.external_data for tensor in _tensors(model.graph)):
        raise ValueError("its weights lie in another file")


def _check_signature(graph: Any) -> None:
    inputs = {one.name: _shape(one) for one in graph.input}
    outputs = {one.name: _shape(one) for one in graph.output}
    side = inputs.get(INPUT, [0, 0])[1]
    expected = [ANSWER, *(f"{HEAD}{level}" for level in range(1, len(outputs)))]
    shape = [None, side, side, 1]
    if not side or inputs != {INPUT: shape} or outputs != dict.fromkeys(expected, shape):
        raise ValueError(
            f"it takes {inputs} and gives {outputs}, expected float32 (N, S, S, 1) with one S as "
            f"{INPUT}, {ANSWER} and {HEAD}1 ...",
        )


def _shape(value: Any) -> list[int | None]:
    """The sizes of a float32 tensor, None where it is free; [0, 0] for anything else."""
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(tensor.shape.dim) != 4:
        return [0, 0]
    return [one.dim_value if one.HasField("dim_value") else None for one in tensor.shape.dim]


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph; raises ValueError for a graph within it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (one for node in graph.node for one in node.attribute):
        if attribute.HasField("g") or attribute.graphs:
            raise ValueError("it holds a graph within a graph")
        sparse_tensors = [*attribute.sparse_tensors, attribute.sparse_tensor]
        yield from (attribute.t, *attribute.tensors)
        yield from (part for one in sparse_tensors for part in (one.values, one.indices))
