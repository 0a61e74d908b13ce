"""U-Net++ with nested, dense skip connections.

Zhou, Siddiquee, Tajbakhsh, Liang: "UNet++: A Nested U-Net Architecture for Medical Image
Segmentation", DLMIA 2018, arXiv 1807.10165. Node X^{i,j} sits at depth i (1/2^i of the image) and
at place j along the skip pathway; its output is the layer `x_i_j`:

    X^{i,0} = H(pool(X^{i-1,0}))
    X^{i,j} = H([X^{i,0}, ..., X^{i,j-1}, up(X^{i+1,j-1})])   for j > 0

Only layers of Keras itself are used, so a saved network loads in safe mode without this code.
"""

from __future__ import annotations

from typing import Any

import keras

from pipeline.errors import ParamsError, StageError
from pipeline.model.encoders import encode
from pipeline.model.normalisation import MOMENTUM, fused
from pipeline.model.telling import tell, told_input
from pipeline.params import PLAIN, TrainParams, size_problem


def build_unetpp(
    image_size: int,
    params: TrainParams,
    *,
    conventions: int = 1,
    synchronized: bool = False,
) -> keras.Model:
    """The network from radiographs (N, S, S, 1), values 0..255, to probabilities (N, S, S, 1).

    The input is named `radiograph` and the output `lung`, float32 in 0..1. Where there are several
    annotation conventions there is a second input `convention`, float32 (N, `conventions`), one-hot
    (pipeline.model.telling). With deep supervision there is a head `lung_0_j` on every X^{0,j}; the
    last one answers (the paper's fast mode; its accurate mode, their mean, is the worse here:
    docs/accuracy.md). With `synchronized`, normalisation takes its means over the whole batch where
    several devices share it; on JAX it always does. Raises ParamsError when `image_size` does not
    suit the depth or the encoder, ServiceError when its weights cannot be fetched.
    """
    if problem := size_problem(image_size, params.depth):
        raise ParamsError(problem)
    radiograph = keras.Input((image_size, image_size, 1), name="radiograph")
    told = told_input(conventions)
    if params.encoder == PLAIN:
        skips = _plain_encoder(radiograph, params.filters, synchronized)
    else:
        skips = encode(
            radiograph,
            params.encoder,
            params.encoder_weights,
            params.depth,
            synchronized=synchronized,
        )
    skips = [tell(skip, told, f"x_{depth}_0") for depth, skip in enumerate(skips)]
    nodes = _nested_decoder(skips, params.filters, synchronized)
    lung = _heads(nodes) if params.deep_supervision else _head(nodes[-1], "lung")
    return keras.Model(radiograph if told is None else [radiograph, told], lung, name="unetpp")


def supervised(model: keras.Model) -> keras.Model:
    """The form of `model` that is trained; it shares all weights with `model`.

    Under deep supervision its output (N, S, S, L) holds the probabilities of the L heads, else it
    is that of `model`, L = 1. Compiling it leaves `model` without losses and optimizer, so that
    what is saved is the network alone.
    """
    joined = [layer.output for layer in model.layers if layer.name == "heads"]
    return fused(keras.Model(model.input, joined[0] if joined else model.output, name="supervised"))


def pruned(model: keras.Model, level: int) -> keras.Model:
    """U-Net++ L^level: the head on X^{0,level} alone, in the paper's fast mode.

    Only the nodes X^{i,k} with i + k <= level are computed and kept; weights are shared with
    `model`. Raises StageError when the network has no such head.
    """
    heads = [layer.name for layer in model.layers if layer.name.startswith("lung_0_")]
    if f"lung_0_{level}" not in heads:
        raise StageError(
            f"level {level}: the network has the heads {', '.join(heads) or 'none'}; choose one "
            "of them, or train with train.deep_supervision",
        )
    return keras.Model(model.input, model.get_layer(f"lung_0_{level}").output, name=f"l_{level}")


def _plain_encoder(radiograph: Any, filters: list[int], synchronized: bool) -> list[Any]:
    node = keras.layers.Rescaling(1 / 255, name="scale")(radiograph)
    skips = []
    for i, count in enumerate(filters):
        if i:
            node = keras.layers.MaxPooling2D(name=f"pool_{i}")(node)
        node = _block(node, count, f"x_{i}_0", synchronized)
        skips.append(node)
    return skips


def _nested_decoder(skips: list[Any], filters: list[int], synchronized: bool) -> list[Any]:
    """The nodes X^{0,1} ... X^{0,L}; `skips[i]` is X^{i,0}."""
    grid = {(i, 0): skip for i, skip in enumerate(skips)}
    last = len(skips) - 1
    for j in range(1, last + 1):
        for i in range(last - j + 1):
            name = f"x_{i}_{j}"
            # A learned 2x2 upsampling trains twice as fast on CPU as a bilinear one.
            up = keras.layers.Conv2DTranspose(filters[i], 2, strides=2, name=f"{name}_up")
            inputs = [grid[i, k] for k in range(j)] + [up(grid[i + 1, j - 1])]
            joined = keras.layers.Concatenate(name=f"{name}_join")(inputs)
            grid[i, j] = _block(joined, filters[i], name, synchronized)
    return [grid[0, j] for j in range(1, last + 1)]


def _block(node: Any, filters: int, name: str, synchronized: bool) -> Any:
    """H of the paper: convolution, normalisation and ReLU, twice; ends in the layer `name`."""
    for part, relu in ((1, f"{name}_relu1"), (2, name)):
        node = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv{part}",
        )(node)
        node = keras.layers.BatchNormalization(
            momentum=MOMENTUM, synchronized=synchronized, name=f"{name}_norm{part}"
        )(node)
        node = keras.layers.ReLU(name=relu)(node)
    return node


def _heads(nodes: list[Any]) -> Any:
    """The answer of the last head; the others are part of the network too."""
    heads = [_head(node, f"lung_0_{j}") for j, node in enumerate(nodes, start=1)]
    if len(heads) == 1:
        return keras.layers.Identity(dtype="float32", name="lung")(heads[0])
    joined = keras.layers.Concatenate(dtype="float32", name="heads")(heads)
    # Taking the last by layers: joined[..., -1:] would not be one, and not load in safe mode.
    side = joined.shape[1]
    exact = {"dtype": "float32"}
    apart = keras.layers.Reshape((side, side, len(heads), 1), name="heads_apart", **exact)(joined)
    crop = ((0, 0), (0, 0), (len(heads) - 1, 0))
    last = keras.layers.Cropping3D(crop, name="last_head", **exact)(apart)
    return keras.layers.Reshape((side, side, 1), name="lung", **exact)(last)


def _head(node: Any, name: str) -> Any:
    return keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name=name)(node)
