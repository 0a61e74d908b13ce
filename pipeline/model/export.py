"""A trained network as ONNX, and the proof that it answers as the network does."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from pipeline.conventions import STANDARD
from pipeline.errors import StageError
from pipeline.inference.graph import (
    ANSWER,
    CONVENTIONS_KEY,
    FORMAT,
    FORMAT_KEY,
    HEAD,
    INPUT,
    TOLD,
    TOLD_FORMAT,
)
from pipeline.inference.predictor import Predictor, Probability
from pipeline.model.batches import read_first
from pipeline.model.engine import engine_devices
from pipeline.model.shards import Shards
from pipeline.model.telling import One, network_inputs
from pipeline.radiograph.grey import Grey

if TYPE_CHECKING:
    import onnx

CHECKED = 32
"""Validation radiographs that the exported network is checked on, at most."""

MAX_DIFFERENCE = 1e-4
"""Of a probability; float32 itself leaves 1e-6."""


def export_network(
    network: keras.Model, path: Path, conventions: Sequence[str] = (STANDARD,)
) -> None:
    """Write `network`, which answers in `conventions`, as ONNX; equal ones give equal files.

    The input `radiograph` is float32 (N, S, S, 1), 0..255; of several conventions `convention` is
    another, float32 (N, C), one-hot in their order. The output `lung` is the network's
    answer; of a network with deep supervision its heads are outputs too, `lung_0_1` ...
    `lung_0_L`; all float32 (N, S, S, 1), 0..1.
    """
    import onnx

    whole = _with_heads(network)
    names = [ANSWER, *(f"{HEAD}{level}" for level in range(1, len(whole.outputs)))]
    # Keras exports only what was called once.
    blank = [np.zeros((1, *one.shape[1:]), np.float32) for one in network.inputs]
    whole.predict_on_batch(blank if len(blank) > 1 else blank[0])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        exported = Path(folder, "network.onnx")
        whole.export(exported, format="onnx", verbose=False)
        model = _normalised(onnx.load(exported), names)
    for key, value in _metadata(conventions).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _metadata(conventions: Sequence[str]) -> dict[str, str]:
    if tuple(conventions) == (STANDARD,):  # as before there were others
        return {FORMAT_KEY: str(FORMAT)}
    return {FORMAT_KEY: str(TOLD_FORMAT), CONVENTIONS_KEY: json.dumps(list(conventions))}


def check_export(network: keras.Model, path: Path, shards: Shards) -> float:
    """The largest difference of a probability between the file `path` and `network`.

    Both segment the first radiographs of `shards`, with every head and in every convention. Raises
    StageError when a probability differs by more than MAX_DIFFERENCE.
    """
    images, _, _ = read_first(shards, CHECKED)
    whole = _with_heads(network)
    predictors = [Predictor(path, level) for level in range(len(whole.outputs))]
    differences = []
    for place, name in enumerate(shards.conventions):
        answers = _answers(whole, images, place, len(shards.conventions))
        for level, (predictor, wanted) in enumerate(zip(predictors, answers, strict=True)):
            found = np.stack(predictor.predict(list(images), None, [name] * len(images)))
            where = f"level {level}" + (f" in {name}" if len(shards.conventions) > 1 else "")
            differences.append(_checked(found, wanted, where))
    return max(differences)


def _answers(whole: keras.Model, images: Grey, place: int, conventions: int) -> list[Probability]:
    """What each output says of images (N, S, S) in the convention at `place`.

    One image after the other: a network that could be trained with a batch of one has its answers
    checked in the same memory.
    """
    told: One = np.zeros((1, conventions), np.float32)
    told[:, place] = 1
    with engine_devices().exact():
        each = [
            keras.tree.flatten(whole.predict_on_batch(network_inputs(image[None, ..., None], told)))
            for image in images.astype(np.float32)
        ]
    outputs = zip(*each, strict=True)
    return [np.concatenate([np.asarray(one)[..., 0] for one in output]) for output in outputs]


def _checked(found: Probability, wanted: Probability, where: str) -> float:
    """By how much a probability differs, at most; raises StageError where that is too much.

    Nothing is asked of masks: only pixels that lie so close to the threshold can differ in them,
    and one such pixel can be much of the mean Dice of few radiographs.
    """
    difference = float(np.abs(found - wanted).max())
    if not difference <= MAX_DIFFERENCE:
        raise StageError(
            f"model.onnx: {where} differs from the network by {difference:.2g} in a probability "
            f"on {len(found)} validation radiographs, expected at most {MAX_DIFFERENCE:g}; its "
            "checkpoints are kept, so run the stage train again with other versions of keras and "
            "tf2onnx",
        )
    return difference


def _with_heads(network: keras.Model) -> keras.Model:
    """`network` with a list of outputs: its answer, then its heads."""
    heads = [layer.output for layer in network.layers if layer.name.startswith(HEAD)]
    if len(heads) == 1:  # it is the answer, and one tensor of two names is exported now so, now so
        heads = []
    return keras.Model(network.input, [network.output, *heads], name="exported")


def _normalised(model: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    """The same graph without what differs from one export to the next: names and their order."""
    from onnx import helper

    graph = model.graph
    names = dict(zip((one.name for one in graph.output), outputs, strict=True)) | {"": ""}
    inputs = sorted(graph.input, key=lambda one: -len(_sizes(one)))  # first the radiograph
    names |= {one.name: name for one, name in zip(inputs, (INPUT, TOLD), strict=False)}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    used: list[Any] = []
    for node in _ordered(graph):
        for name in node.input:
            if name in tensors and name not in names:
                names[name] = f"weights_{len(used)}"
                used.append(tensors[name])
        for name in node.output:
            names.setdefault(name, f"{node.op_type.lower()}_{len(nodes)}")
        nodes.append(_renamed(node, names))
    for tensor in used:
        tensor.name = names[tensor.name]
    ends = [(names[one.name], _sizes(one)) for one in inputs]
    ends += [(name, _sizes(inputs[0])) for name in outputs]
    values = [helper.make_tensor_value_info(name, 1, ["N", *sizes]) for name, sizes in ends]
    taken = len(inputs)
    clean = helper.make_graph(nodes, "lungseg", values[:taken], values[taken:], used)
    opset = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return helper.make_model(
        clean, producer_name="lungseg", ir_version=model.ir_version, opset_imports=opset
    )


def _sizes(value: Any) -> list[int]:
    """Of a tensor (N, ...), without N."""
    return [one.dim_value for one in value.type.tensor_type.shape.dim][1:]


def _ordered(graph: onnx.GraphProto) -> Iterator[Any]:
    """The nodes, each after what it needs, in an order that follows from the graph alone."""
    makers = {name: node for node in graph.node for name in node.output}
    done: set[int] = set()
    stack = [one.name for one in reversed(graph.output)]
    while stack:
        node = makers.get(stack[-1])
        if node is None or id(node) in done:
            stack.pop()
            continue
        missing = [name for name in node.input if name in makers and id(makers[name]) not in done]
        stack.extend(reversed(missing))
        if not missing:
            done.add(id(node))
            yield node


def _renamed(node: Any, names: dict[str, str]) -> Any:
    node.name = ""
    node.doc_string = ""
    attributes = sorted(node.attribute, key=lambda one: one.name)
    inputs, outputs = ([names[name] for name in part] for part in (node.input, node.output))
    del node.attribute[:], node.input[:], node.output[:]
    node.attribute.extend(attributes)
    node.input.extend(inputs)
    node.output.extend(outputs)
    return node
