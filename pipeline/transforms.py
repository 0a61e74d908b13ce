"""The random changes that an augmented copy may undergo, as params.yaml lists them.

Names and arguments are those of albumentations. Only changes are here that keep a radiograph
plausible and its mask in place: of the grey levels, and small ones of the geometry. Every argument
but Affine's `aspect` is required, an unknown one is an error (albumentations only warns), and each
has bounds. What is not an argument here, such as the interpolation, is decided in
`pipeline.augmentation.copies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


@dataclass(frozen=True)
class Within:
    """Accepts a pair of numbers [least, most] between two bounds."""

    low: float
    high: float

    def __call__(self, found: Any) -> Any:
        """Returns `found` unchanged; raises ValueError."""
        pair = isinstance(found, list) and len(found) == 2
        if not (pair and all(type(value) in (int, float) for value in found)) or not (
            self.low <= found[0] <= found[1] <= self.high
        ):
            raise ValueError(f"expected [least, most] between {self.low:g} and {self.high:g}")
        return found


class Transform(BaseModel):
    """A random change and its probability."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    p: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="before")
    @classmethod
    def _knows_its_arguments(cls, found: dict[str, Any]) -> dict[str, Any]:
        unknown = [str(argument) for argument in found if argument not in cls.model_fields]
        if unknown:
            known = ", ".join(sorted(cls.model_fields.keys() - {"name"}))
            raise ValueError(f"no argument {', '.join(unknown)}, expected only {known}")
        return found


class HorizontalFlip(Transform):
    """Exchanges left and right: the heart lies on the wrong side, the lungs are still lungs."""

    name: Literal["HorizontalFlip"]


class Affine(Transform):
    """Size, rotation and position at once, which interpolates only once."""

    name: Literal["Affine"]
    scale: Annotated[list[float], BeforeValidator(Within(0.75, 1.35))]
    """Relative size; at 0.75 still more than half of the lungs' area."""
    rotate: Annotated[list[float], BeforeValidator(Within(-30, 30))]
    """Degrees; positive is counterclockwise."""
    translate_percent: Annotated[list[float], BeforeValidator(Within(-0.25, 0.25))]
    """Share of the side, drawn for each direction."""
    aspect: Annotated[list[float], BeforeValidator(Within(0.8, 1.25))] = [1, 1]
    """Width over height of what had both alike, drawn beside the size."""


class Rotate(Transform):
    """Rotation about the centre."""

    name: Literal["Rotate"]
    limit: Annotated[list[float], BeforeValidator(Within(-30, 30))]
    """Degrees; positive is counterclockwise."""


class RandomResizedCrop(Transform):
    """A part of the picture, enlarged to the whole."""

    name: Literal["RandomResizedCrop"]
    scale: Annotated[list[float], BeforeValidator(Within(0.6, 1))]
    """Share of the area."""
    ratio: Annotated[list[float], BeforeValidator(Within(0.75, 1.34))]
    """Width of the part over its height."""


class GridDistortion(Transform):
    """A smooth local warp."""

    name: Literal["GridDistortion"]
    num_steps: Annotated[int, Field(ge=2, le=10)]
    """Cells along a side."""
    distort_limit: Annotated[list[float], BeforeValidator(Within(-0.3, 0.3))]
    """Share of a cell by which its corners move."""


class RandomBrightnessContrast(Transform):
    """A linear change of the grey levels."""

    name: Literal["RandomBrightnessContrast"]
    brightness_limit: Annotated[list[float], BeforeValidator(Within(-0.4, 0.4))]
    """Share of the range of grey levels that is added."""
    contrast_limit: Annotated[list[float], BeforeValidator(Within(-0.5, 0.5))]
    """Relative change of the contrast."""


class RandomGamma(Transform):
    """A power of the grey levels, as of another film or display."""

    name: Literal["RandomGamma"]
    gamma_limit: Annotated[list[float], BeforeValidator(Within(50, 200))]
    """Per cent."""


class CLAHE(Transform):
    """Contrast-limited adaptive histogram equalisation (Pizer et al. 1987)."""

    name: Literal["CLAHE"]
    clip_limit: Annotated[list[float], BeforeValidator(Within(1, 8))]
    tile_grid_size: Annotated[list[int], BeforeValidator(Within(2, 16))]
    """Rows and columns of tiles."""


class GaussNoise(Transform):
    """Noise of a lower dose."""

    name: Literal["GaussNoise"]
    std_range: Annotated[list[float], BeforeValidator(Within(0, 0.15))]
    """Standard deviation, share of the range of grey levels."""


class GaussianBlur(Transform):
    """Blur of motion or of a large focal spot."""

    name: Literal["GaussianBlur"]
    sigma_limit: Annotated[list[float], BeforeValidator(Within(0.1, 3))]
    """Pixels of the training image."""


class CoarseDropout(Transform):
    """Plain rectangles over the picture, not over its mask: what an opacity hides is still lung.

    Blocks that stand for opacities: Selvan et al., "Lung Segmentation from Chest X-rays using
    Variational Data Imputation", 2020, arXiv 2005.10052. Each has a grey level of its own.
    """

    name: Literal["CoarseDropout"]
    num_holes_range: Annotated[list[int], BeforeValidator(Within(1, 8))]
    """How many."""
    hole_height_range: Annotated[list[float], BeforeValidator(Within(0.02, 0.5))]
    """Share of the picture's side."""
    hole_width_range: Annotated[list[float], BeforeValidator(Within(0.02, 0.5))]
    """Share of the picture's side."""


Listed = (
    HorizontalFlip
    | Affine
    | Rotate
    | RandomResizedCrop
    | GridDistortion
    | RandomBrightnessContrast
    | RandomGamma
    | CLAHE
    | GaussNoise
    | GaussianBlur
    | CoarseDropout
)
NAMES = [transform.__name__ for transform in get_args(Listed)]


def _refuse_unlisted(found: Any) -> Any:
    if not (isinstance(found, dict) and found.get("name") in NAMES):
        raise ValueError(f"expected a transform whose name is one of {', '.join(NAMES)}")
    return found


AnyTransform = Annotated[
    Annotated[Listed, Field(discriminator="name")], BeforeValidator(_refuse_unlisted)
]

GEOMETRIC = (Affine, Rotate, RandomResizedCrop, GridDistortion)
"""The transforms that can move lungs out of the frame."""
