"""The ONNX graph of a network: looked through before it is run, and cut to one of its heads.

Part of the released model, so it imports nothing of the project but what goes with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..conventions import MOST_CONVENTIONS, STANDARD, in_order, name_problem
from ..errors import StageError

INPUT, TOLD, ANSWER, HEAD = "radiograph", "convention", "lung", "lung_0_"

FORMAT, TOLD_FORMAT = 1, 2
"""Of the networks that `pipeline.model.export` writes: what goes in, what comes out, how it is cut.

Another number says that code which knows only the others would predict wrongly. Of format 2 are
those that name the conventions they answer in, and are told which one where there are several.
"""
FORMATS = (FORMAT, TOLD_FORMAT)
"""Those that this code predicts with."""
FORMAT_KEY = "lungseg.format"
"""Of the graph's metadata; a graph without it is from before there was another than 1."""
CONVENTIONS_KEY = "lungseg.conventions"
"""Of the graph's metadata: the names as a JSON list; none is `standard` alone."""


def read_graph(path: Path) -> Any:
    """The onnx.ModelProto of a file that `pipeline.model.export` wrote.

    Its input is `radiograph`, float32 (N, S, S, 1), its outputs are `lung` and, of a network with
    deep supervision, the heads `lung_0_1` ... `lung_0_L`, all of the input's shape. One that names
    several conventions has a second input `convention`, float32 (N, C). Raises StageError for
    anything else, for operators beyond ONNX' own and for weights in other files; nothing of the
    graph is run, and no other file is opened.
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
    return Extractor(model).extract_model([one.name for one in model.graph.input], [output])


def read_format(path: Path) -> int:
    """The format of a network's file; nothing else of it is looked at.

    Raises StageError for what is no ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return find_format(onnx.ModelProto.FromString(path.read_bytes()))
    except (OSError, ValueError, DecodeError) as error:
        raise unusable(path, error) from None


def find_format(model: Any) -> int:
    """The format that an onnx.ModelProto names; raises ValueError when that is no number."""
    named = [one.value for one in model.metadata_props if one.key == FORMAT_KEY]
    return int(named[0]) if named else 1


def read_conventions(path: Path) -> tuple[str, ...]:
    """The conventions that a network's file names; nothing else of it is looked at.

    Raises StageError for what is no ONNX file, or names them otherwise than `find_conventions`
    says.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return find_conventions(onnx.ModelProto.FromString(path.read_bytes()))
    except (OSError, ValueError, DecodeError) as error:
        raise unusable(path, error) from None


def find_conventions(model: Any) -> tuple[str, ...]:
    """The conventions that an onnx.ModelProto names, the first answers by default.

    Raises ValueError when they are no list of different names in their order.
    """
    named = [one.value for one in model.metadata_props if one.key == CONVENTIONS_KEY]
    if not named:
        return (STANDARD,)
    try:
        found = json.loads(named[0])
    except (ValueError, RecursionError):
        found = None
    if len(named) > 1 or not _are_conventions(found):
        raise ValueError(
            f"it names the conventions {named[0][:80]!r}, expected a list of 1 to "
            f"{MOST_CONVENTIONS} different names, {STANDARD} first, then by the alphabet",
        )
    return tuple(found)


def _are_conventions(found: Any) -> bool:
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_CONVENTIONS:
        return False
    plain = all(isinstance(name, str) and not name_problem(name) for name in found)
    return plain and found == in_order(found)


def unusable(path: Path, error: Exception) -> StageError:
    """The error for a file that is no network of ours, in one line."""
    return StageError(
        f"{path}: not a network that the stage train exported "
        f"({' '.join(str(error).split())[:200]}); train it again or pull it from its source",
    )


def _check(model: Any) -> None:
    """Raise ValueError for what an exported network does not have."""
    if find_format(model) not in FORMATS:
        raise ValueError(f"its format is {find_format(model)}, this code reads {FORMATS}")
    conventions = find_conventions(model)
    if find_format(model) == FORMAT and conventions != (STANDARD,):
        raise ValueError(f"it names conventions and its format is {FORMAT}, expected {TOLD_FORMAT}")
    _check_signature(model.graph, len(conventions))
    domains = {one.domain for one in [*model.opset_import, *model.graph.node]} - {"", "ai.onnx"}
    if domains or model.functions or model.training_info:
        raise ValueError(
            f"it holds operators of {', '.join(sorted(domains)) or 'its own'}, expected ONNX' only"
        )
    if any(tensor.data_location or tensor.external_data for tensor in _tensors(model.graph)):
        raise ValueError("its weights lie in another file")


def _check_signature(graph: Any, conventions: int) -> None:
    inputs = {one.name: _shape(one) for one in graph.input}
    outputs = {one.name: _shape(one) for one in graph.output}
    taken = inputs.get(INPUT) or []
    side = taken[1] if len(taken) == 4 else None
    shape = [None, side, side, 1]
    wanted = {INPUT: shape} | ({TOLD: [None, conventions]} if conventions > 1 else {})
    heads = [ANSWER, *(f"{HEAD}{level}" for level in range(1, len(outputs)))]
    if not side or inputs != wanted or outputs != dict.fromkeys(heads, shape):
        told = f" and (N, {conventions}) as {TOLD}" if conventions > 1 else ""
        raise ValueError(
            f"expected float32 (N, S, S, 1) with one S as {INPUT}, {ANSWER} and {HEAD}1 ...{told}, "
            f"found {inputs} and {outputs}",
        )


def _shape(value: Any) -> list[int | None] | None:
    """The sizes of a float32 tensor, None where one is free; None for anything else."""
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        return None
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
