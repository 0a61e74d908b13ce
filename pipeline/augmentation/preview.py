"""A page of training radiographs beside their augmented copies, for a person to judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.params import AugmentParams
from pipeline.radiograph.grey import Grey

Drawn = Mapping[str, Any]

TILES_ACROSS = 6
TILE = 264  # pixels; at normal size the page is 1,700 wide
GAP, GROUP_GAP, MARGIN = 6, 26, 24
TEXT, HEADING, TITLE = 14, 19, 25  # sizes of the letters, pixels
LINE = 20
INK, FAINT, OUTLINE = (20, 20, 20), (95, 95, 95), (60, 220, 120)
WIDTH = 2 * MARGIN + TILES_ACROSS * TILE + (TILES_ACROSS - 1) * GROUP_GAP


@dataclass(frozen=True)
class Panel:
    """An image and its mask, share of lung, both (S, S) 0..255, and what to say of them."""

    image: Grey
    mask: Grey
    caption: str


PanelRow = Sequence[Panel]
"""An original and its copies, side by side."""


class Page:
    """A white page that grows downwards."""

    def __init__(self) -> None:
        self._strips: list[Image.Image] = []

    def text(self, words: str, size: int, colour: tuple[int, int, int] = INK) -> None:
        """Write a paragraph over the page's width."""
        font = _font(size)
        lines = wrap(words, font, WIDTH - 2 * MARGIN)
        step = round(size * 1.4)
        pen = self._strip(step * len(lines))[1]
        for number, line in enumerate(lines):
            pen.text((MARGIN, number * step), line, colour, font)

    def space(self, height: int) -> None:
        """Leave some pixels empty."""
        self._strip(height)

    def row(self, groups: Sequence[PanelRow]) -> None:
        """Put rows of panels side by side, their captions below."""
        font = _font(TEXT)
        captions = [[wrap(panel.caption, font, TILE) for panel in group] for group in groups]
        lines = max(len(caption) for group in captions for caption in group)
        strip, pen = self._strip(TILE + GAP + lines * LINE)
        left = MARGIN
        for group, of_group in zip(groups, captions, strict=True):
            for panel, caption in zip(group, of_group, strict=True):
                strip.paste(Image.fromarray(draw_panel(panel)), (left, 0))
                for number, line in enumerate(caption):
                    pen.text((left, TILE + GAP + number * LINE), line, INK, font)
                left += TILE + GAP
            left += GROUP_GAP - GAP

    def image(self) -> Image.Image:
        """The whole page."""
        page = Image.new("RGB", (WIDTH, sum(strip.height for strip in self._strips)), "white")
        top = 0
        for strip in self._strips:
            page.paste(strip, (0, top))
            top += strip.height
        return page

    def _strip(self, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        strip = Image.new("RGB", (WIDTH, height), "white")
        self._strips.append(strip)
        return strip, ImageDraw.Draw(strip)


def draw_preview(groups: Mapping[str, Sequence[PanelRow]], settings: Sequence[str]) -> Image.Image:
    """The page of all classes, below the settings that made it."""
    page = Page()
    page.space(MARGIN)
    page.text("Training radiographs and their augmented copies", TITLE)
    for paragraph in settings:
        page.text(paragraph, TEXT, FAINT)
    page.text("The green line is the outline of the mask.", TEXT, FAINT)
    for name, of_class in groups.items():
        page.space(MARGIN)
        page.text(name, HEADING)
        page.space(GAP)
        in_a_row = TILES_ACROSS // len(of_class[0])
        for start in range(0, len(of_class), in_a_row):
            page.row(of_class[start : start + in_a_row])
            page.space(GAP)
    page.space(MARGIN)
    return page.image()


def settings_of(params: AugmentParams, pairs: int, redrawn: int, tried: int) -> list[str]:
    """What a reader must know to judge the page, as paragraphs.

    `redrawn` draws failed, of fresh copies among the first `tried` of each pair.
    """
    again = f"{redrawn} draws" if redrawn > 1 else "1 draw" if redrawn else "no draw"
    listed = "; ".join(
        f"{transform.name} ({_listed(given)})"
        for transform in params.transforms
        for given in [transform.model_dump(exclude={"name"}, exclude_defaults=True)]
    )
    when = "; other copies in every epoch, here of the first" if params.fresh else ""
    of_which = f", tried with {_copies(tried)} of each pair" if params.fresh else ""
    return [
        f"{params.image_size} × {params.image_size} pixels, {_copies(params.copies)} of each of "
        f"{pairs} training pairs{when}, seed {params.seed}; {again} lost lungs and had to be "
        f"repeated{of_which}.",
        f"In this order: {listed or 'no transforms'}.".replace("-", "−"),
    ]


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def _listed(arguments: Mapping[str, Any]) -> str:
    # The probability last, whatever the order of the model.
    ordered = sorted(arguments.items(), key=lambda item: item[0] == "p")
    return ", ".join(f"{key} {_value(value)}" for key, value in ordered)


def _value(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, list) else f"{value:g}"


def wrap(words: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of words, none wider than `width` pixels; a word that is too wide is broken."""
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
        while len(lines[-1]) > 1 and font.getlength(lines[-1]) > width:
            fitting = _fitting(lines[-1], font, width)
            lines[-1:] = [lines[-1][:fitting], lines[-1][fitting:]]
    return lines


def _fitting(word: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    """How many letters of a word fit, at least one."""
    return max((n for n in range(1, len(word)) if font.getlength(word[:n]) <= width), default=1)


def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font lacks × and −, and the letters of most names of classes.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def draw_panel(panel: Panel) -> Grey:
    """A picture (TILE, TILE, 3)."""
    smooth = cv2.INTER_CUBIC if len(panel.image) < TILE else cv2.INTER_AREA
    picture = cv2.cvtColor(
        cv2.resize(panel.image, (TILE, TILE), interpolation=smooth), cv2.COLOR_GRAY2RGB
    )
    # Linear, then halved: the outline is as smooth as the picture.
    share = cv2.resize(panel.mask.astype(np.float32), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    shape = (share >= 255 / 2).astype(np.uint8)
    outlines, _ = cv2.findContours(shape, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, OUTLINE, 1, cv2.LINE_AA)
    return np.asarray(picture)


def describe_copy(applied: Sequence[tuple[str, Drawn]]) -> str:
    """What the transforms did to a copy, in a reader's words."""
    phrases = [PHRASES[name](drawn) for name, drawn in applied]
    return ", ".join(phrases) if phrases else "unchanged"


def _moved(drawn: Drawn) -> str:
    """Rotation, size and shift of the centre, all in the matrix; positive angles turn left."""
    matrix, (height, width) = drawn["matrix"], drawn["shape"][:2]
    angle = math.degrees(math.atan2(-matrix[1, 0], matrix[0, 0]))
    size = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    right, down = 100 * (matrix[:2, :2] @ centre + matrix[:2, 2] - centre) / (width, height)
    moves = [_directed(right, " %", "right", "left"), _directed(down, " %", "down", "up")]
    moved = ", ".join(filter(None, moves))
    turned = _directed(angle, "°", "left", "right")
    parts = [f"turned {turned}" if turned else "", f"size ×{size:.2f}", _stretched(matrix)]
    return ", ".join(filter(None, [*parts, f"moved {moved}" if moved else ""]))


def _stretched(matrix: Any) -> str:
    """Width over height of what had both alike; nothing where they are kept."""
    width, height = np.linalg.norm(matrix[:2, :2], axis=0)
    return "" if round(width / height, 2) == 1 else f"width:height ×{width / height:.2f}"


def _directed(amount: float, unit: str, positive: str, negative: str) -> str:
    """Nothing for what rounds to nothing."""
    direction = positive if amount > 0 else negative
    return f"{abs(amount):.0f}{unit} {direction}" if round(amount) else ""


def _cut(drawn: Drawn) -> str:
    left, top, right, bottom = drawn["crop_coords"]
    return f"cut to {right - left} × {bottom - top} pixels"


def _warped(drawn: Drawn) -> str:
    rows, columns = np.indices(drawn["map_x"].shape)
    shift = np.hypot(drawn["map_x"] - columns, drawn["map_y"] - rows).max()
    return f"warped by up to {shift:.0f} pixels"


def _covered(drawn: Drawn) -> str:
    count = len(drawn["holes"])
    return f"{count} rectangle{'s' if count > 1 else ''} laid over"


PHRASES: dict[str, Callable[[Drawn], str]] = {
    "HorizontalFlip": lambda _: "mirrored",
    "Affine": _moved,
    "StretchedAffine": _moved,
    "Rotate": _moved,
    "RandomResizedCrop": _cut,
    "GridDistortion": _warped,
    "RandomBrightnessContrast": lambda drawn: (
        f"contrast ×{drawn['alpha']:.2f}, brightness {drawn['beta']:+.0f}".replace("-", "−")
    ),
    "RandomGamma": lambda drawn: f"gamma {drawn['gamma']:.2f}",
    "CLAHE": lambda drawn: f"equalised with limit {drawn['clip_limit']:.1f}",
    "GaussNoise": lambda drawn: f"noise of {drawn['noise_map'].std():.1f} grey levels",
    "GaussianBlur": lambda drawn: f"blurred over {len(drawn['kernel'])} pixels",
    "CoarseDropout": _covered,
}
"""What to say of each transform, by what albumentations drew for it."""
