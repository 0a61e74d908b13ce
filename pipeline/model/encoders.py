"""Backbones of segmentation-models, and EfficientNet-Lite0, as the encoder of the U-Net++."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any, Literal
from urllib.error import URLError

import keras
import numpy as np

from pipeline.errors import ParamsError, ServiceError
from pipeline.model import efficientnet_lite
from pipeline.model.keras_file import foreign_parts
from pipeline.model.normalisation import MOMENTUM


def encode(
    radiograph: Any,
    name: str,
    weights: Literal["imagenet"] | None,
    depth: int,
    *,
    synchronized: bool = False,
) -> list[Any]:
    """Features of `radiograph` (N, S, S, 1), values 0..255, at 1, 1/2, ..., 1/2^depth of its size.

    The first is the scaled radiograph itself, the others come from the backbone `name`, whose
    normalisations are `synchronized` as build_unetpp says. Raises
    ParamsError when the backbone cannot be built or could not be loaded again without
    its code, and ServiceError when its ImageNet weights cannot be fetched or are not installed.
    """
    size = radiograph.shape[1]
    if name == efficientnet_lite.NAME:
        backbone = efficientnet_lite.build(size, weights)
        features, scale = backbone.outputs, efficientnet_lite.SCALE
    else:
        models = _segmentation_models()
        backbone = _backbone(models, name, weights, size)
        layers = models.Backbones.get_feature_layers(name, n=4)
        features = [backbone.get_layer(**_key(layer)).output for layer in reversed(layers)]
        features.append(backbone.output)
        scale = _scale(models, name)
    encoder = keras.Model(backbone.input, features[:depth], name="encoder")
    _check_portable(encoder, name)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
            layer.synchronized = synchronized
    channels = keras.layers.Concatenate(name="channels")([radiograph] * 3)
    scaled = keras.layers.Rescaling(*scale, name="scale")(channels)
    full = keras.layers.Rescaling(1 / 255, name="x_0_0")(radiograph)
    return [full, *_as_list(encoder(scaled))]


def _segmentation_models() -> ModuleType:
    # Its default, standalone Keras 2, is what fails to import; it reads this once.
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    # It greets on the standard output, and Python warns of its sources when it compiles them.
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid escape sequence")
        import segmentation_models

    module: ModuleType = segmentation_models
    return module


def _backbone(models: ModuleType, name: str, weights: str | None, size: int) -> keras.Model:
    try:
        return models.Backbones.get_backbone(
            name,
            input_shape=(size, size, 3),
            weights=weights,
            include_top=False,
            **_keras_modules(),
        )
    except (URLError, OSError) as error:
        raise _unreachable(name, error) from None
    except Exception as error:
        # keras.utils.get_file raises a bare Exception when a download fails.
        if "URL fetch failure" in str(error):
            raise _unreachable(name, error) from None
        if not isinstance(error, (ValueError, TypeError, AttributeError)):
            raise
        raise ParamsError(
            f"train.encoder: {name} cannot be built at {size}x{size} pixels with weights "
            f"{weights} ({' '.join(str(error).split())[:160]}); choose another encoder",
        ) from None


def _keras_modules() -> dict[str, Any]:
    """What a backbone of segmentation-models needs to be told, its own modules being unset."""
    # TensorFlow's name for Keras 3 still has the old backend functions that backbones call.
    from tensorflow import keras as tf_keras

    return {name: getattr(tf_keras, name) for name in ("backend", "layers", "models", "utils")}


def _unreachable(name: str, error: Exception) -> ServiceError:
    return ServiceError(
        f"train.encoder_weights: the ImageNet weights of {name} cannot be fetched "
        f"({' '.join(str(error).split())[:160]}); set it to null, or put the file named there "
        "into ~/.keras/models",
    )


def _check_portable(encoder: keras.Model, name: str) -> None:
    """Refuse what Keras would not load again in safe mode and without the backbone's code."""
    foreign = next(foreign_parts(encoder.get_config()), None)
    if foreign:
        raise ParamsError(
            f"train.encoder: {name} holds {foreign}, which cannot be loaded without its own code; "
            "choose plain or an encoder such as resnet34",
        )


def _scale(models: ModuleType, name: str) -> tuple[list[float], list[float]]:
    """Factor and offset of each channel in the backbone's own scaling of 0..255.

    Every backbone scales each channel by a line (some swap red and blue, which are equal here),
    so two points give it exactly.
    """
    preprocess = models.Backbones.get_preprocessing(name)
    black, white = np.zeros((1, 1, 1, 3), np.float32), np.full((1, 1, 1, 3), 255, np.float32)
    low = np.asarray(preprocess(black, **_keras_modules()), np.float64).ravel()
    high = np.asarray(preprocess(white, **_keras_modules()), np.float64).ravel()
    return ((high - low) / 255).tolist(), low.tolist()


def _key(layer: str | int) -> dict[str, str | int]:
    return {"index": layer} if isinstance(layer, int) else {"name": layer}


def _as_list(features: Any) -> list[Any]:
    return list(features) if isinstance(features, (list, tuple)) else [features]
