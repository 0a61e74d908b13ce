"""Tiny networks that are told their convention, and answer otherwise in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.params import Params

SIDE = 32
NAMES = ("standard", "heart", "wide")


def told(*places: int, conventions: int = 2) -> NDArray[np.float32]:
    """What tells of these places, one-hot."""
    return np.eye(conventions, dtype=np.float32)[list(places)]


def build(params: Params, conventions: int = 1, **changes: Any) -> Any:
    """As it is before training."""
    import keras

    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(1)
    small = params.train.model_copy(update={"filters": [4, 6, 8], **changes})
    return build_unetpp(SIDE, small, conventions=conventions)


def trained(params: Params, conventions: int = 2, **changes: Any) -> Any:
    """As after a training: what is told changes the answer, and normalisations do something."""
    network = build(params, conventions, **changes)
    random = np.random.default_rng(1)
    network.set_weights(
        [
            weights * random.uniform(0.8, 1.2, weights.shape)
            if weights.any()
            else random.normal(0, 0.5, weights.shape)
            for weights in network.get_weights()
        ]
    )
    return network


def write_network(network: Any, folder: Path, names: tuple[str, ...] = NAMES[:2]) -> Path:
    """Both files of a network below `folder`, which is returned."""
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network

    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder / "model.keras")
    export_network(network, folder / "model.onnx", names)
    return folder
