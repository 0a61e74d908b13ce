"""A network without what it learned: each of its weight tensors in a random order.

Adebayo et al.: "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292: a map that stays
the same when the weights are random does not depend on what the network learned. A shuffle keeps
the distribution of each tensor, which is the harder test; all tensors are shuffled at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.graph import read_graph

if TYPE_CHECKING:
    import keras


def shuffle_network(network: keras.Model, seed: int) -> keras.Model:
    """A copy of `network` with its weights shuffled; the same for the same seed."""
    import keras

    copy = keras.models.clone_model(network)
    random = np.random.default_rng(seed)
    copy.set_weights([_shuffled(weights, random) for weights in network.get_weights()])
    return copy


def shuffle_export(path: Path, seed: int, target: Path) -> None:
    """Write the exported network of `path` to `target` with its weights shuffled.

    Raises StageError when `path` is no network that the stage train exported.
    """
    from onnx import TensorProto, numpy_helper

    model = read_graph(path)
    random = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:  # shapes and the like are integers
            shuffled = _shuffled(numpy_helper.to_array(tensor), random)
            tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
    target.write_bytes(model.SerializeToString(deterministic=True))


def _shuffled(weights: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    return random.permutation(weights.ravel()).reshape(weights.shape)
