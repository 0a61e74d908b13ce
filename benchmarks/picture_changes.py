"""What may happen to a radiograph between two copies of it: used by near_duplicates.py."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey

Change = Callable[[Grey], Grey]


def jpeg(quality: int) -> Change:
    """Encode as JPEG and decode."""

    def change(image: Grey) -> Grey:
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def through(side: int, there: int, back: int) -> Change:
    """Resize to `side` and back."""

    def change(image: Grey) -> Grey:
        other = cv2.resize(image, (side, side), interpolation=there)
        return np.asarray(cv2.resize(other, image.shape[::-1], interpolation=back), np.uint8)

    return change


def levels(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    """Change the grey levels, 0 to 255."""
    table = np.clip(np.rint(function(np.arange(256.0))), 0, 255).astype(np.uint8)
    return lambda image: table[image]


def crop(top: float, bottom: float, sides: float) -> Change:
    """Cut off shares of the height and, on either side, of the width."""

    def change(image: Grey) -> Grey:
        height, width = image.shape
        cut = round(width * sides)
        return image[round(height * top) : height - round(height * bottom), cut : width - cut]

    return change


def shift(share: float) -> Change:
    """Move right and down by a share of the height; the border is repeated."""

    def change(image: Grey) -> Grey:
        by = round(share * image.shape[0])
        matrix = np.array([[1, 0, by], [0, 1, by]], np.float32)
        size = image.shape[::-1]
        moved = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    return change


def border(share: float, level: int) -> Change:
    """Add a frame."""

    def change(image: Grey) -> Grey:
        by = round(share * image.shape[1])
        return np.pad(image, by, constant_values=level)

    return change


def noise(deviation: float) -> Change:
    """Add Gaussian noise."""

    def change(image: Grey) -> Grey:
        random = np.random.default_rng(int(image.sum()))
        noisy = image + random.normal(0, deviation, image.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    return change


def write(image: Grey) -> Grey:
    """Burn a line of text into the upper left corner."""
    height = image.shape[0]
    place, scale = (height // 33, height // 12), height / 600
    written = cv2.putText(image.copy(), "PORTABLE 12:40", place, 0, scale, 255, height // 150 or 1)
    return np.asarray(written, np.uint8)


def equalise(image: Grey) -> Grey:
    """Equalise contrast locally (CLAHE)."""
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(image), np.uint8)


KINDS: dict[str, Change] = {
    "JPEG, quality 95": jpeg(95),
    "JPEG, quality 75": jpeg(75),
    "JPEG, quality 50": jpeg(50),
    "resized to 256 and back": through(256, cv2.INTER_AREA, cv2.INTER_LINEAR),
    "resized to 1024 and back": through(1024, cv2.INTER_CUBIC, cv2.INTER_AREA),
    "resized to 1024 and back, nearest pixel": through(1024, cv2.INTER_LINEAR, cv2.INTER_NEAREST),
    "brightness +20": levels(lambda grey: grey + 20),
    "brightness -20": levels(lambda grey: grey - 20),
    "contrast x 1.2": levels(lambda grey: 128 + 1.2 * (grey - 128)),
    "contrast x 0.8": levels(lambda grey: 128 + 0.8 * (grey - 128)),
    "gamma 0.8": levels(lambda grey: 255 * (grey / 255) ** 0.8),
    "gamma 1.25": levels(lambda grey: 255 * (grey / 255) ** 1.25),
    "negative": levels(lambda grey: 255 - grey),
    "local contrast equalised": equalise,
    "noise, deviation 3": noise(3),
    "noise, deviation 6": noise(6),
    "text in a corner": write,
    "1 % cut off all around": crop(0.01, 0.01, 0.01),
    "2 % cut off all around": crop(0.02, 0.02, 0.02),
    "3 % cut off the top": crop(0.03, 0, 0),
    "3 % cut off top and bottom": crop(0.03, 0.03, 0),
    "shifted by 2 % right and down": shift(0.02),
    "shifted by 3 % right and down": shift(0.03),
    "black border of 2 %": border(0.02, 0),
    "black border of 3 %": border(0.03, 0),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}
