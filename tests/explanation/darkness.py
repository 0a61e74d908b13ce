"""A network whose answer is known: what is darker than the middle grey is lung."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
CHANNELS = 64
"""So many that shuffled weights seldom lead from the radiograph to the answer."""


def darkness() -> Any:
    """Features at half the size: how dark, how bright, and others that are empty."""
    import keras

    radiograph = keras.Input((SIDE, SIDE, 1), name="radiograph")
    dark = keras.layers.Rescaling(-1 / 255, 1.0, name="scale")(radiograph)
    half = keras.layers.AveragePooling2D(2, name="pool_1")(dark)
    node = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name="x_1_0")(half)
    up = keras.layers.Conv2DTranspose(CHANNELS, 2, strides=2, name="x_0_1_up")(node)
    last = keras.layers.ReLU(name="x_0_1")(up)
    lung = keras.layers.Conv2D(1, 1, activation="sigmoid", name="lung")(last)
    network = keras.Model(radiograph, lung, name="darkness")
    first, bias = np.zeros((3, 3, 1, CHANNELS), np.float32), np.zeros(CHANNELS, np.float32)
    first[1, 1, 0, :2], bias[:2] = (1, -1), (-0.5, 0.5)
    through = np.tile(np.eye(CHANNELS, dtype=np.float32), (2, 2, 1, 1))
    head = np.zeros((1, 1, CHANNELS, 1), np.float32)
    head[0, 0, :2, 0] = 30, -30
    none = np.zeros(CHANNELS, np.float32)
    network.set_weights([first, bias, through, none, head, np.zeros(1, np.float32)])
    return network


def save(network: Any, folder: Path) -> Path:
    """Write the two files of a trained network."""
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network

    folder.mkdir()
    save_network(network, folder / "model.keras")
    export_network(network, folder / "model.onnx")
    return folder
