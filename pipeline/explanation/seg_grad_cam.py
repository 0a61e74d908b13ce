"""Seg-Grad-CAM: which features of the network raise the answer within the predicted lung.

Vinogradova, Dibrov, Myers: "Towards Interpretable Semantic Segmentation via Gradient-Weighted Class
Activation Mapping", AAAI 2020 (student abstract), arXiv 2002.11434, after Selvaraju et al., ICCV
2017, arXiv 1610.02391:

    a_k = mean over positions of dy / dA_k,    map = ReLU(sum over k of a_k A_k)

y is the sum of the logits over the predicted lung. A is the deepest node X^{i,0} of the encoder
that still has COARSEST positions a side: later nodes are ever more the answer itself
(docs/explanation.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey

if TYPE_CHECKING:
    import keras

COARSEST = 8
"""Positions along a side, below which a map would show nothing."""


class SegGradCam:
    """Maps of one U-Net++, on TensorFlow."""

    def __init__(self, network: keras.Model) -> None:
        import keras

        last = _depth(network)
        self._head = network.get_layer("lung")
        if not isinstance(self._head, keras.layers.Conv2D):  # of a network with deep supervision
            self._head = network.get_layer(f"lung_0_{last}")
        side = network.inputs[0].shape[1]
        deepest = max(i for i in range(1, last + 1) if i == 1 or side >> i >= COARSEST)
        node = network.get_layer(f"x_{deepest - 1}_1_up").input
        self._model = keras.Model(network.input, [node, self._head.input])

    def weigh(self, image: Grey, lung: NDArray[np.bool_], place: int = 0) -> NDArray[np.float64]:
        """The map before its ReLU, (h, w), of `image` uint8 (S, S) with the lung (S, S).

        `place` is that of the convention which a network of several is asked for.
        """
        import tensorflow as tf

        radiograph = tf.constant(image.astype(np.float32)[None, ..., None])
        told = [tf.one_hot([place], one.shape[1]) for one in self._model.inputs[1:]]
        with tf.GradientTape() as tape:
            tape.watch(radiograph)
            node, features = self._model(
                [radiograph, *told] if told else radiograph, training=False
            )
            tape.watch(node)
            logits = self._logits(features)
            wanted = tf.reduce_sum(logits * tf.constant(lung[None, ..., None], logits.dtype))
        slopes = tf.reduce_mean(tf.cast(tape.gradient(wanted, node), "float32"), (0, 1, 2))
        weighed = tf.reduce_sum(tf.cast(node[0], "float32") * slopes, -1)
        return np.asarray(weighed, np.float64)

    def _logits(self, features: Any) -> Any:
        """What the head gives before its sigmoid, which would flatten every slope."""
        import tensorflow as tf

        kernel, bias = self._head.kernel, self._head.bias
        return tf.nn.conv2d(tf.cast(features, "float32"), kernel, 1, "SAME") + bias


def _depth(network: keras.Model) -> int:
    """L of the nodes X^{0,1} ... X^{0,L}."""
    depth = 1
    names = {layer.name for layer in network.layers}
    while f"x_0_{depth + 1}" in names:
        depth += 1
    return depth
