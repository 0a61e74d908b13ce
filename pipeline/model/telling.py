"""How a network is told which annotation convention it is asked for.

Feature-wise linear modulation (Perez et al.: "FiLM: Visual Reasoning with a General Conditioning
Layer", AAAI 2018, arXiv 1709.07871), in every block between its last normalisation and its ReLU:

    FiLM(F) = F + gamma(c) F + beta(c)

c is one-hot, so gamma and beta are a row of weights for each convention and each feature. They
begin at zero, with which a told network is the same as one that is not told.
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
    """`node` (N, H, W, F) scaled and shifted by what is told (N, C); itself when nothing is."""
    if told is None:
        return node
    features = node.shape[-1]
    scale, shift = (
        keras.layers.Reshape((1, 1, features), name=f"{name}_{part}_each")(
            keras.layers.Dense(
                features, use_bias=False, kernel_initializer="zeros", name=f"{name}_{part}"
            )(told)
        )
        for part in ("scale", "shift")
    )
    scaled = keras.layers.Multiply(name=f"{name}_scaled")([node, scale])
    return keras.layers.Add(name=f"{name}_told")([node, scaled, shift])


def network_inputs(images: NDArray[Any], told: One) -> Any:
    """What a network takes: images (N, S, S, 1), and `told` (N, C) where there are several."""
    return [images, told] if told.shape[1] > 1 else images
