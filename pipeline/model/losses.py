"""What training minimises and watches, per radiograph.

Shapes: `truth` is (N, S, S, 1), the share of each pixel that is lung, 0..1. `heads` is (N, S, S, L)
with the probabilities of the L supervised heads; losses take their mean over the heads, metrics are
those of the last head, which is what the network answers, against what is lung by half or more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

SMOOTH = 1.0
"""Pixel added to numerator and denominator of the soft Dice, so that empty masks have a slope."""

PIXELS = (1, 2, 3)


def loss_function(name: str) -> Callable[[Any, Any], Any]:
    """The loss called `train.loss` in params.yaml."""
    return {"binary_crossentropy": binary_crossentropy, "bce_dice": bce_dice}[name]


def binary_crossentropy(truth: Any, heads: Any) -> Any:
    """Binary cross-entropy of Keras, mean over pixels and heads: (N,)."""
    spread = ops.broadcast_to(ops.cast(truth, heads.dtype), ops.shape(heads))
    return ops.mean(keras.losses.binary_crossentropy(spread, heads), axis=(1, 2))


def bce_dice(truth: Any, heads: Any) -> Any:
    """Binary cross-entropy plus 1 - soft Dice of each radiograph and head: (N,).

    Soft Dice: Milletari et al., "V-Net", 3DV 2016, arXiv 1606.04797, without the squares.
    """
    truth = ops.cast(truth, heads.dtype)
    overlap = ops.sum(truth * heads, axis=(1, 2))
    total = ops.sum(truth, axis=(1, 2)) + ops.sum(heads, axis=(1, 2))
    soft_dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    return binary_crossentropy(truth, heads) + 1 - ops.mean(soft_dice, axis=-1)


def accuracy(truth: Any, heads: Any) -> Any:
    """Share of the pixels that are right at threshold 0.5: (N,)."""
    truth, mask = _masks(truth, heads)
    return ops.mean(ops.cast(ops.equal(truth, mask), "float32"), axis=PIXELS)


def dice(truth: Any, heads: Any) -> Any:
    """Dice at threshold 0.5: (N,); 1 where truth and prediction are both empty."""
    truth, mask = _masks(truth, heads)
    total = ops.sum(truth, axis=PIXELS) + ops.sum(mask, axis=PIXELS)
    overlap = 2 * ops.sum(truth * mask, axis=PIXELS)
    return ops.where(total > 0, overlap / ops.maximum(total, 1), 1.0)


def iou(truth: Any, heads: Any) -> Any:
    """Intersection over union at threshold 0.5: (N,); 1 where both masks are empty."""
    truth, mask = _masks(truth, heads)
    overlap = ops.sum(truth * mask, axis=PIXELS)
    union = ops.sum(truth, axis=PIXELS) + ops.sum(mask, axis=PIXELS) - overlap
    return ops.where(union > 0, overlap / ops.maximum(union, 1), 1.0)


def _masks(truth: Any, heads: Any) -> tuple[Any, Any]:
    return ops.cast(truth >= 0.5, "float32"), ops.cast(heads[..., -1:] >= 0.5, "float32")
