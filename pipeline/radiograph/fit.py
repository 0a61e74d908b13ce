"""A radiograph at the size of a network's input, the same in training and prediction.

Part of the released model, so it imports nothing else of the project.
"""

from __future__ import annotations

import cv2
import numpy as np

from .grey import Grey


def fit_radiograph(image: Grey, side: int) -> Grey:
    """A radiograph uint8 (H, W) at the network's size (side, side), in training and prediction."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
