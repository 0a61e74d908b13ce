"""How a network is told which annotation convention it is asked for.

At every depth i a learned vector of the convention, one number for each feature, is added to the
node X^{i,0} where it enters the nested decoder, so every head is told. The vectors begin at zero,
with which a told network is the same as one that is not told. Of the ways that were tried it is the
best on validation radiographs, and the smallest (docs/accuracy.md).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.inference.graph import TOLD

One = NDArray[np.float32]
"""Conventions (N, C), each row 1 at the place of its own and 0 elsewhere."""


def told_input(conventions: int) -> Any | None:
    """The input `convention` float32 (N, C); None where there is only one to be asked for."""
    return keras.Input((conventions,), name=TOLD) if conventions > 1 else None


def tell(node: Any, told: Any | None, name: str) -> Any:
    """`node` (N, H, W, F) shifted by what is told (N, C); itself when nothing is."""
    if told is None:
        return node
    features = node.shape[-1]
    shift = keras.layers.Dense(
        features, use_bias=False, kernel_initializer="zeros", name=f"{name}_shift"
    )(told)
    everywhere = keras.layers.Reshape((1, 1, features), name=f"{name}_shift_each")(shift)
    return keras.layers.Add(name=f"{name}_told")([node, everywhere])


def network_inputs(images: NDArray[Any], told: One) -> Any:
    """What a network takes: images (N, S, S, 1), and `told` (N, C) where there are several."""
    return [images, told] if told.shape[1] > 1 else images
