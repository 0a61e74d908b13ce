"""The section of the dataset's page on masks that look like another convention than their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.validation.doubtful import Doubtful
from pipeline.dataset.validation.medial_borders import Borders, lung_frame
from pipeline.dataset.validation.resemblance import typical_borders
from pipeline.dataset.validation.tiles import radiograph_and_mask
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.pictures.overlay import COLOURS, Picture, draw_outline
from pipeline.pictures.pages import encode_jpeg, encode_png
from pipeline.radiograph.grey import Grey
from pipeline.table_files import rows_of

SHOWN = 48  # pairs with pictures; the table has all
SIDE = 320  # pixels
QUALITY = 82
OWN, OTHER = COLOURS["missed"], COLOURS["agreement"]
LINE, DASHES = 2, 3  # pixels; parts that each stretch between two heights is divided into


@dataclass(frozen=True)
class DoubtfulTile:
    """A listed pair and its picture."""

    pair: Doubtful
    picture: bytes | None
    """A JPEG; None when a file cannot be shown."""


@dataclass(frozen=True)
class DoubtfulSection:
    """What the page says of the listed pairs."""

    count: int
    tiles: list[DoubtfulTile]
    swatches: Mapping[str, bytes]
    """PNGs of the legend: `own` and `other`."""
    all_alike: str
    """The convention that all of them look like; empty when they differ."""


def show_doubtful(data: Path, tables: DatasetTables) -> DoubtfulSection | None:
    """The section of a dataset; None when no pair is listed."""
    if tables.doubtful.empty:
        return None
    typical = typical_borders(tables.manifest)
    listed = rows_of(tables.doubtful, Doubtful)
    shown = listed[:SHOWN]
    chosen = tables.manifest[tables.manifest["image_id"].isin({one.image_id for one in shown})]
    pairs = {str(pair["image_id"]): pair for _, pair in chosen.iterrows()}
    alike = {one.looks_like for one in listed}
    return DoubtfulSection(
        count=len(listed),
        tiles=[_tile(data, pairs[one.image_id], one, typical) for one in shown],
        swatches={"own": encode_png(_swatch(OWN, True)), "other": encode_png(_swatch(OTHER))},
        all_alike=alike.pop() if len(alike) == 1 else "",
    )


def _tile(
    data: Path, pair: pd.Series, listed: Doubtful, typical: Mapping[str, Borders]
) -> DoubtfulTile:
    both = radiograph_and_mask(data, pair)
    if both is None:
        return DoubtfulTile(listed, None)
    picture = draw_borders(*both, typical[listed.convention], typical[listed.looks_like])
    return DoubtfulTile(listed, encode_jpeg(picture, QUALITY))


def draw_borders(radiograph: Grey, mask: Grey, own: Borders, other: Borders) -> Picture:
    """The radiograph (H, W) with the outline of its mask and two conventions' typical borders.

    `own` dashed, `other` solid, both laid into the frame of this mask. RGB.
    """
    canvas = draw_outline(radiograph, mask, "reference", SIDE)
    frame = lung_frame(mask)
    if frame is None:
        return canvas
    scale = np.array(canvas.shape[1::-1]) / mask.shape[1::-1]
    for borders, colour, dashed in ((other, OTHER, False), (own, OWN, True)):
        for side in (0, 1):
            columns = frame.start + borders[:, side] * frame.width
            points = np.stack([columns, frame.rows + 0.5], axis=1) * scale
            _draw_line(canvas, points, colour, dashed)
    return canvas


def _draw_line(
    canvas: Picture, points: NDArray[np.float64], colour: tuple[int, int, int], dashed: bool = False
) -> None:
    if not dashed:
        cv2.polylines(canvas, [_whole(points)], False, colour, LINE, cv2.LINE_AA)
        return
    for start, end in pairwise(points):
        dash = np.stack([start, start + (end - start) * (DASHES - 1) / DASHES])
        cv2.polylines(canvas, [_whole(dash)], False, colour, LINE, cv2.LINE_AA)


def _whole(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(points).astype(np.int32)


def _swatch(colour: tuple[int, int, int], dashed: bool = False) -> Picture:
    canvas = np.full((32, 64, 3), 110, np.uint8)
    _draw_line(canvas, np.array([[x, 16.0] for x in range(0, 65, 16)]), colour, dashed)
    return canvas
