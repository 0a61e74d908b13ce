"""Random copies of a radiograph and its mask, with a check that the lungs are still there.

Every random choice follows from the seed, the pair and the number of the copy alone.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.params import AugmentParams
from pipeline.radiograph.grey import Grey
from pipeline.settings import quiet_libraries
from pipeline.transforms import GEOMETRIC, Affine, AnyTransform

Arguments = dict[str, Any]
"""Of a transform of albumentations, by name."""

FAULTS = ("lungs_lost", "lung_missing")
"""Why a copy is drawn again: less than MIN_LUNGS_KEPT of the lungs' area is left, or less than
MIN_LUNG_KEPT of one lung's."""

MIN_LUNGS_KEPT = 0.5
MIN_LUNG_KEPT = 0.25
MAX_DRAWS = 20

MIN_LUNG_SHARE = 0.1  # of the mask's area: a smaller component is no lung

FIXED: dict[str, Arguments] = {
    "Affine": {"keep_ratio": True},
    # Of mean 0. At its own resolution: coarser noise would be blotches.
    "GaussNoise": {"mean_range": (0, 0), "noise_scale_factor": 1},
    "GaussianBlur": {"blur_limit": 0},  # the kernel follows from sigma
    "CoarseDropout": {"fill": "random_uniform"},
}
INTERPOLATION = {
    "interpolation": cv2.INTER_LINEAR,
    "mask_interpolation": cv2.INTER_LINEAR,  # it holds shares, not labels
}
BORDER = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": 0}


@dataclass(frozen=True)
class Copy:
    """An augmented copy of a pair."""

    image: Grey  # (S, S), 0..255
    mask: Grey  # (S, S), share of lung, 0..255
    applied: Sequence[tuple[str, Arguments]] = ()
    """Names of the transforms that took place and what albumentations drew for them."""


@dataclass(frozen=True)
class Original:
    """A pair at the size of the training images, ready to be copied."""

    image_id: str
    image: Grey  # (S, S), 0..255
    lungs: Grey  # (S, S, 2), share of either lung, 0..255
    areas: NDArray[np.int64]  # of either lung, pixels times 255

    @classmethod
    def of(cls, image_id: str, image: Grey, mask: Grey) -> Self:
        """A pair of image (S, S) and mask (S, S), share of lung, both 0..255, its lungs told apart.

        The second largest component of the mask is a lung of its own if it is of some size; all
        others are taken with the largest.
        """
        _, components, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
        areas = stats[1:, cv2.CC_STAT_AREA]
        second = np.argsort(-areas, kind="stable")[1:2]
        apart = second[areas[second] >= MIN_LUNG_SHARE * areas.sum()] + 1
        # Labels are never negative, so that of no component is nowhere.
        of_its_own = components == (apart[0] if len(apart) else -1)
        lungs = cv2.merge([np.where(of_its_own, 0, mask), np.where(of_its_own, mask, 0)])
        return cls(image_id, image, np.asarray(lungs), _areas(lungs))


class SerialisedPipeline(NamedTuple):
    """The transforms as albumentations writes them, and its version."""

    transforms: Any
    albumentations: str


class Copier:
    """Draws copies; counts in `redrawn` how often one had to be drawn again, by FAULTS."""

    def __init__(
        self, params: AugmentParams, keep_applied: bool = False, most_draws: int = MAX_DRAWS
    ) -> None:
        """With `keep_applied`, copies say what was applied to them, at some cost in time.

        A copy is given up after `most_draws`.
        """
        self.redrawn: Counter[str] = Counter()
        self._params, self._most_draws = params, most_draws
        self._pipeline = _pipeline(params, keep_applied)

    def draw(self, original: Original, number: int) -> Copy:
        """Copy `number` of an original; raises StageError when all draws lose the lungs."""
        faults: Counter[str] = Counter()
        for attempt in range(self._most_draws):
            self._seed(original.image_id, number, attempt)
            drawn = self._pipeline(image=original.image, mask=original.lungs)
            fault = _fault(original.areas, _areas(drawn["mask"]))
            if fault is None:
                self.redrawn += faults
                mask = cv2.add(*cv2.split(drawn["mask"]))
                return Copy(drawn["image"], mask, drawn.get("applied_transforms", ()))
            faults[fault] += 1
        raise StageError(_refusal(original.image_id, faults, self._params))

    def serialised(self) -> SerialisedPipeline:
        """What the copies are drawn with."""
        whole = self._pipeline.to_dict()
        return SerialisedPipeline(whole["transform"], whole["__version__"])

    def _seed(self, *key: object) -> None:
        seed = int.from_bytes(digest(self._params.seed, *key)[:8], "little")
        # One generator for all: `set_random_seed` would seed every transform alike, so that a flip
        # always came with the same rotations and a brightening with the same gamma.
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def digest(*key: object) -> bytes:
    """32 random-looking bytes that follow from a key."""
    return hashlib.sha256("/".join(map(str, key)).encode()).digest()


def _areas(lungs: Grey) -> NDArray[np.int64]:
    # Sums of whole numbers in float64 are exact here, and thirty times as fast as NumPy's.
    return np.array(cv2.sumElems(lungs)[: lungs.shape[2]], np.int64)


def _fault(before: NDArray[np.int64], after: NDArray[np.int64]) -> str | None:
    """Which of FAULTS a copy has, by the areas of its lungs and of the original's."""
    if (after < MIN_LUNG_KEPT * before).any():
        return "lung_missing"
    if after.sum() < MIN_LUNGS_KEPT * before.sum():
        return "lungs_lost"
    return None


def _refusal(image_id: str, faults: Counter[str], params: AugmentParams) -> str:
    moving = [transform.name for transform in params.transforms if isinstance(transform, GEOMETRIC)]
    kinds = ", ".join(f"{fault} {faults[fault]}" for fault in FAULTS if faults[fault])
    return (
        f"{image_id}: found no copy among {faults.total()} that keeps the lungs in the frame "
        f"({kinds}); narrow {' and '.join(moving)} in augment.transforms"
    )


def _pipeline(params: AugmentParams, keep_applied: bool) -> Any:
    quiet_libraries()  # albumentations would ask the network at import
    import albumentations as A

    from pipeline.augmentation.stretching import StretchedAffine

    transforms = [
        (StretchedAffine if _stretches(transform) else getattr(A, transform.name))(
            **_arguments(transform, params.image_size)
        )
        for transform in params.transforms
    ]
    # Shapes agree by construction; a wrong argument is an error and not a warning.
    return A.Compose(
        transforms, is_check_shapes=False, strict=True, save_applied_params=keep_applied
    )


def _stretches(transform: AnyTransform) -> TypeGuard[Affine]:
    return isinstance(transform, Affine) and transform.aspect != [1, 1]


def _arguments(transform: AnyTransform, side: int) -> Arguments:
    given = transform.model_dump(exclude={"name", "aspect"})
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    arguments |= FIXED.get(transform.name, {})
    if _stretches(transform):
        size, aspect = tuple(transform.scale), tuple(transform.aspect)
        arguments |= {"scale": {"x": size, "y": aspect}, "keep_ratio": False}
    if isinstance(transform, GEOMETRIC):
        arguments |= INTERPOLATION
        cropping = transform.name == "RandomResizedCrop"
        arguments |= {"size": (side, side)} if cropping else BORDER
    return arguments
