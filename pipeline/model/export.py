"""A trained network as ONNX, and the proof that it answers as the network does."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from pipeline.errors import StageError
from pipeline.inference.graph import ANSWER, FORMAT, FORMAT_KEY, HEAD, INPUT
from pipeline.inference.predictor import Predictor, Probability
from pipeline.model.batches import read_first
from pipeline.model.shards import Shards
from pipeline.radiograph.grey import Grey

if TYPE_CHECKING:
    import onnx

CHECKED = 32
"""Validation radiographs that the exported network is checked on, at most."""

MAX_DIFFERENCE = 1e-4
"""Of a probability, and of the mean Dice; float32 itself leaves 1e-6."""


def export_network(network: keras.Model, path: Path) -> None:
    """Write `network` as ONNX; equal networks give equal files.

    The input `radiograph` is float32 (N, S, S, 1), 0..255. The output `lung` is the network's
    answer; of a network with deep supervision its heads are outputs too, `lung_0_1` ...
    `lung_0_L`; all float32 (N, S, S, 1), 0..1.
    """
    import onnx

    whole = _with_heads(network)
    names = [ANSWER, *(f"{HEAD}{level}" for level in range(1, len(whole.outputs)))]
    # Keras exports only what was called once.
    whole.predict_on_batch(np.zeros((1, *network.input_shape[1:]), np.float32))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        exported = Path(folder, "network.onnx")
        whole.export(exported, format="onnx", verbose=False)
        model = _normalised(onnx.load(exported), names)
    model.metadata_props.add(key=FORMAT_KEY, value=str(FORMAT))
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_export(network: keras.Model, path: Path, shards: Shards) -> float:
    """The largest difference of a probability between the file `path` and `network`.

    Both segment the first radiographs of `shards`, with every head. Raises StageError when a
    probability or the mean Dice at threshold 0.5 differs by more than MAX_DIFFERENCE.
    """
    images, _, truth = read_first(shards, CHECKED)
    expected = _with_heads(network).predict_on_batch(images.astype(np.float32)[..., None])
    differences = []
    for level, answer in enumerate(keras.tree.flatten(expected)):
        found = np.stack(Predictor(path, level).predict(list(images)))
        wanted = np.asarray(answer)[..., 0]
        differences.append(_difference(found, wanted))
        dices = _dice(found, truth), _dice(wanted, truth)
        if not (differences[-1] <= MAX_DIFFERENCE and abs(dices[0] - dices[1]) <= MAX_DIFFERENCE):
            raise StageError(
                f"model.onnx: level {level} differs from the network by {differences[-1]:.2g} in a "
                f"probability and by {abs(dices[0] - dices[1]):.2g} in Dice on {len(images)} "
                f"validation radiographs, expected at most {MAX_DIFFERENCE:g}; its checkpoints "
                "are kept, so run the stage train again with other versions of keras and tf2onnx",
            )
    return max(differences)


def _with_heads(network: keras.Model) -> keras.Model:
    """`network` with a list of outputs: its answer, then its heads."""
    heads = [layer.output for layer in network.layers if layer.name.startswith(HEAD)]
    if len(heads) == 1:  # it is the answer, and one tensor of two names is exported now so, now so
        heads = []
    return keras.Model(network.input, [network.output, *heads], name="exported")


def _difference(found: Probability, wanted: Probability) -> float:
    return float(np.abs(found - wanted).max())


def _dice(probability: Probability, truth: Grey) -> float:
    """Mean Dice of masks (N, H, W) at threshold 0.5; 1 where both are empty."""
    masks = probability >= 0.5
    total = masks.sum((1, 2)) + truth.sum((1, 2), dtype=np.int64)
    overlap = 2 * (masks & (truth > 0)).sum((1, 2))
    return float(np.where(total > 0, overlap / np.maximum(total, 1), 1).mean())


def _normalised(model: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    """The same graph without what differs from one export to the next: names and their order."""
    from onnx import helper

    graph = model.graph
    names = dict(zip((one.name for one in graph.output), outputs, strict=True)) | {"": ""}
    names |= dict(zip((one.name for one in graph.input), [INPUT], strict=True))
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
    size = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    values = [
        helper.make_tensor_value_info(name, 1, ["N", size, size, 1]) for name in (INPUT, *outputs)
    ]
    clean = helper.make_graph(nodes, "lungseg", values[:1], values[1:], used)
    opset = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    return helper.make_model(
        clean, producer_name="lungseg", ir_version=model.ir_version, opset_imports=opset
    )


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
