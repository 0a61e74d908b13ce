"""What predicts, whichever code that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.radiograph.grey import Grey


class Segmenter(Protocol):
    """Radiographs to lung probabilities, such as pipeline.inference.predictor.Predictor."""

    @property
    def conventions(self) -> tuple[str, ...]:
        """The annotation conventions that it answers in, the default first."""
        ...

    def predict(
        self,
        images: Sequence[Grey],
        sizes: Sequence[tuple[int, int]] | None = None,
        conventions: Sequence[str] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Lung probabilities 0..1 at `sizes` (height, width) for uint8 images (H, W).

        By default each answer has the size of its image, and is in the first convention. Raises
        StageError for a convention that is none of them.
        """
        ...
