"""One channel of a decoded picture: its grey levels, however it stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableError

Levels = NDArray[Any]
"""uint8 or uint16, (H, W)."""
NEARLY = 2
"""Levels of 255 by which a channel of a grey picture may differ from the middle one."""
AT_MOST = 8
"""By how much a few pixels may: of noise of one level JPEG makes differences up to 5, of two up to
7, as measured at qualities of 50 to 100."""
FEW_PIXELS = 0.1
"""The share that may: at quality 100, one level of noise is more than NEARLY in 6 % of pixels."""


def grey_levels(levels: Levels) -> Levels:
    """The grey levels (H, W) of a picture (H, W) or, stored as colour, (H, W, 3 or 4).

    Where channels differ a little the middle one counts. Raises UnreadableError for a picture that
    has colours or transparent pixels.
    """
    channels = opaque_channels(levels)
    grey = channels[0] if channels_agree(channels) else middle_channel(channels)
    if grey is None:
        raise UnreadableError(
            "not_grayscale", "is a colour picture, expected grey; export it as grey"
        )
    return grey


def opaque_channels(levels: Levels) -> Sequence[Levels]:
    """The one or three channels of a picture that has no transparent pixels."""
    if levels.ndim == 2:
        return (levels,)
    channels = cv2.split(levels)
    if len(channels) == 4 and (channels[3] != np.iinfo(levels.dtype).max).any():
        raise UnreadableError("mode", "has transparent pixels, expected none; export it as grey")
    return channels[:3]


def channels_agree(channels: Sequence[Levels]) -> bool:
    """Whether all channels hold the same."""
    return all(np.array_equal(channels[0], other) for other in channels[1:])


def middle_channel(channels: Sequence[Levels]) -> Levels | None:
    """The middle one of three levels, pixel by pixel; None where others differ by much."""
    one, two, three = channels
    middle = cv2.max(cv2.min(one, two), cv2.min(cv2.max(one, two), three))
    unit = int(np.iinfo(middle.dtype).max) // 255
    apart = cv2.max(
        cv2.absdiff(cv2.max(one, cv2.max(two, three)), middle),
        cv2.absdiff(cv2.min(one, cv2.min(two, three)), middle),
    )
    if int(apart.max()) > AT_MOST * unit:
        return None
    beyond = np.count_nonzero(apart > NEARLY * unit)
    return np.asarray(middle) if beyond <= FEW_PIXELS * apart.size else None
