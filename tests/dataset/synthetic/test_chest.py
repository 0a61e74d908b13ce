from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.synthetic.chest.anatomy import draw_chest
from pipeline.dataset.synthetic.chest.pathology import OPACITIES, Field
from pipeline.dataset.synthetic.phantom import radiograph

Grey = NDArray[np.uint8]
CLASSES = list(OPACITIES)
EACH = 20


@cache
def sample() -> dict[str, list[tuple[Grey, Grey]]]:
    return {name: [radiograph(3, index, name) for index in range(EACH)] for name in CLASSES}


def test_lungs_have_a_plausible_size_and_place() -> None:
    masks = [mask for name in CLASSES for _, mask in sample()[name]]
    areas = [mask.mean() for mask in masks]

    assert 0.24 < np.median(areas) < 0.31
    assert min(areas) > 0.15
    assert max(areas) < 0.42
    for mask in masks:
        count, _, stats, centres = cv2.connectedComponentsWithStats(mask)
        assert count == 3
        assert centres[1:, 0].min() < 128 < centres[1:, 0].max()
        assert stats[1:, cv2.CC_STAT_AREA].min() > 0.05 * mask.size


def test_a_mask_is_the_outline_filled_to_an_eighth_of_a_pixel() -> None:
    for index in range(6):
        chest = draw_chest(np.random.default_rng([3, index, CLASSES.index("COVID")]))
        _, mask = sample()["COVID"][index]
        for row, column in np.random.default_rng(index).integers(0, 256, (400, 2)):
            centre = ((column + 0.5) / 256, (row + 0.5) / 256)
            outlines = [lung.astype(np.float32) for lung in chest.lungs]
            inside = 256 * max(cv2.pointPolygonTest(lung, centre, True) for lung in outlines)
            if abs(inside) > 0.2:
                assert mask[row, column] == (inside > 0)


def edge_contrast(image: Grey, lung: Grey) -> float:
    """How much brighter the picture is just outside the lungs than just inside."""
    ring = np.ones((5, 5), np.uint8)
    outside, inside = cv2.dilate(lung, ring) - lung, lung - cv2.erode(lung, ring)
    return float(image[outside > 0].mean() - image[inside > 0].mean())


def test_the_image_is_in_register_with_its_mask() -> None:
    def contrast(shift: tuple[int, int]) -> float:
        size, found = (299, 299), []
        for image, mask in sample()["Normal"]:
            lung = (cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA) > 127).astype(
                np.uint8
            )
            found.append(edge_contrast(image, np.roll(lung, shift, (0, 1))))
        return float(np.mean(found))

    centred = contrast((0, 0))
    assert centred > 20
    assert all(contrast(shift) < centred for shift in [(0, 1), (0, -1), (1, 0), (-1, 0)])


def opacity_of(name: str, index: int) -> tuple[Field, NDArray[np.bool_]]:
    """The opacity (100, 100) and the two lungs' masks at its size, of one patient per index."""
    chest = draw_chest(np.random.default_rng(index))
    field = OPACITIES[name](chest, np.random.default_rng([index, 1]))
    masks = [np.zeros((100, 100), np.uint8) for _ in chest.lungs]
    for mask, lung in zip(masks, chest.lungs, strict=True):
        cv2.fillPoly(mask, [np.rint(lung * 100 - 0.5).astype(np.int32)], 1)
    return field, np.stack(masks) > 0


def lung_densities(name: str) -> NDArray[np.float64]:
    """Mean opacity of the (denser, clearer) lung, of EACH patients."""
    found = [opacity_of(name, index) for index in range(EACH)]
    return np.array(
        [sorted((field[lung].mean() for lung in lungs), reverse=True) for field, lungs in found]
    )


def test_normal_lungs_are_clear() -> None:
    assert not lung_densities("Normal").any()


def test_covid_and_viral_pneumonia_are_bilateral_and_a_lung_opacity_is_not() -> None:
    assert np.median(lung_densities("COVID")[:, 1]) > 0.1
    assert np.median(lung_densities("Viral Pneumonia")[:, 1]) > 0.1
    denser, clearer = np.median(lung_densities("Lung_Opacity"), axis=0)
    assert denser > 0.1
    assert clearer < 0.02


def test_covid_lies_at_the_outer_wall_and_viral_pneumonia_does_not() -> None:
    def outer_share(name: str) -> float:
        shares = []
        for index in range(EACH):
            field, lungs = opacity_of(name, index)
            lung = lungs.any(axis=0)
            depth = np.abs(np.arange(100) - 50)[None, :] * lung
            outer = depth > np.median(depth[lung])
            shares.append(field[outer & lung].sum() / field[lung].sum())
        return float(np.mean(shares))

    assert outer_share("COVID") > 0.65
    assert outer_share("Viral Pneumonia") < 0.55


def in_lungs(name: str, statistic: Callable[[Grey, NDArray[np.bool_]], float]) -> float:
    """Median over radiographs of a statistic of the lungs' inside, against the picture's spread."""
    found = []
    for image, mask in sample()[name]:
        lung = cv2.erode(cv2.resize(mask, (299, 299)), np.ones((9, 9))) > 0
        found.append(statistic(image, lung) / image.std())
    return float(np.median(found))


def unevenness(image: Grey, lung: NDArray[np.bool_]) -> float:
    return float(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 6)[lung].std())


def roughness(image: Grey, lung: NDArray[np.bool_]) -> float:
    pixels = image.astype(np.float32)
    return float((pixels - cv2.GaussianBlur(pixels, (0, 0), 3))[lung].std())


def test_opacities_show_in_the_radiographs() -> None:
    assert in_lungs("Lung_Opacity", unevenness) > 1.2 * in_lungs("Normal", unevenness)
    assert in_lungs("COVID", unevenness) > 1.05 * in_lungs("Normal", unevenness)
    assert in_lungs("Viral Pneumonia", roughness) > 1.2 * in_lungs("Normal", roughness)
