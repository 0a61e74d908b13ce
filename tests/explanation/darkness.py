"""A network whose answer is known: what is darker than the middle grey is lung."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
CHANNELS = 64
"""So many that shuffled weights seldom lead from the radiograph to the answer."""


def darkness(conventions: int = 1) -> Any:
    """Features at half the size: how dark, how bright, and others that are empty.

    With two conventions the second takes what is bright for lung.
    """
    import keras

    radiograph = keras.Input((SIDE, SIDE, 1), name="radiograph")
    dark = keras.layers.Rescaling(-1 / 255, 1.0, name="scale")(radiograph)
    half = keras.layers.AveragePooling2D(2, name="pool_1")(dark)
    node = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name="x_1_0")(half)
    up = keras.layers.Conv2DTranspose(CHANNELS, 2, strides=2, name="x_0_1_up")(node)
    last = keras.layers.ReLU(name="x_0_1")(up)
    inputs = radiograph
    if conventions > 1:
        told = keras.Input((conventions,), name="convention")
        sign = keras.layers.Dense(1, use_bias=False, name="sign")(told)
        inputs, each = [radiograph, told], keras.layers.Reshape((1, 1, 1))(sign)
        last = keras.layers.Multiply(name="signed")([last, each])
    lung = keras.layers.Conv2D(1, 1, activation="sigmoid", name="lung")(last)
    network = keras.Model(inputs, lung, name="darkness")
    if conventions > 1:
        network.get_layer("sign").set_weights([np.array([[1], [-1]], np.float32)])
    first, bias = np.zeros((3, 3, 1, CHANNELS), np.float32), np.zeros(CHANNELS, np.float32)
    first[1, 1, 0, :2], bias[:2] = (1, -1), (-0.5, 0.5)
    through = np.tile(np.eye(CHANNELS, dtype=np.float32), (2, 2, 1, 1))
    head = np.zeros((1, 1, CHANNELS, 1), np.float32)
    head[0, 0, :2, 0] = 30, -30
    none = np.zeros(CHANNELS, np.float32)
    network.get_layer("x_1_0").set_weights([first, bias])
    network.get_layer("x_0_1_up").set_weights([through, none])
    network.get_layer("lung").set_weights([head, np.zeros(1, np.float32)])
    return network


def save(network: Any, folder: Path, names: tuple[str, ...] = ("standard",)) -> Path:
    """Write the two files of a trained network."""
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network

    folder.mkdir()
    save_network(network, folder / "model.keras")
    export_network(network, folder / "model.onnx", names)
    return folder
