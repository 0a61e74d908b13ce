"""Batch normalisation: its momentum, and one operation of TensorFlow that does it in training.

Keras 3 writes the normalisation as a dozen element-wise operations, each of which, and each of
their gradients, goes through memory once: a third of the training step on CPU. TensorFlow's fused
operation also takes the ReLU behind it in. What is saved is the network of Keras' own layers.
"""

from __future__ import annotations

from typing import Any

import keras

MOMENTUM = 0.9
"""Keras' default, 0.99, has not forgotten its start after a few hundred steps: validation Dice
0.46 after an epoch whose training loss is already 0.24. Backbones come with 0.99 to 0.999."""


def fused(model: keras.Model) -> keras.Model:
    """The same network on the same weights, with its batch normalisations fused.

    Also those of networks within it, as an encoder is. Under another engine than TensorFlow it is
    `model` itself.
    """
    if keras.backend.backend() != "tensorflow":
        return model
    return keras.models.clone_model(model, clone_function=_fused, recursive=True)


def _fused(layer: keras.Layer) -> keras.Layer:
    usual = isinstance(layer, keras.layers.BatchNormalization) and (
        layer.scale and layer.center and not layer.renorm and not layer.synchronized
    )
    channels_last = usual and len(layer.input.shape) == 4 and layer.axis in (-1, 3)
    return FusedNormalization(layer) if channels_last else layer


class FusedNormalization(keras.layers.Layer):  # type: ignore[misc]  # untyped to mypy
    """What `norm` does to (N, H, W, C) and to its own means, in float32 as `norm` does it."""

    def __init__(self, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(name=norm.name, dtype=norm.dtype_policy)
        self.norm = norm
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise by the batch's own mean and variance in training, else as `norm` does."""
        import tensorflow as tf

        norm = self.norm
        if not (training and norm.trainable):
            return norm(inputs, training=False)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, "float32"), norm.gamma, norm.beta, epsilon=norm.epsilon
        )
        count = tf.cast(tf.size(inputs), "float32") / inputs.shape[-1]
        biased = variance * (count - 1) / count  # Keras keeps this one, the operation the other
        for kept, found in ((norm.moving_mean, mean), (norm.moving_variance, biased)):
            kept.assign(kept * norm.momentum + found * (1 - norm.momentum))
        return tf.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape
