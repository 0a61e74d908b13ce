from __future__ import annotations

import numpy as np

from pipeline.explanation.heatmap import draw_heatmap

RADIOGRAPH = np.full((60, 90), 120, np.uint8)


def test_the_map_lies_over_the_radiograph_in_its_frame() -> None:
    heat = np.zeros((6, 9))
    heat[1, 1] = 2.5

    picture = draw_heatmap(RADIOGRAPH, heat, np.zeros((30, 45), np.uint8), side=300)

    assert (picture.shape, picture.dtype) == ((300, 450, 3), np.uint8)
    red, green, blue = picture[75, 75].astype(int)
    assert min(red, green) > blue + 80  # yellow
    assert np.abs(picture[250, 400].astype(int) - 120).max() < 20  # the radiograph shows through


def test_the_predicted_outline_is_drawn_and_an_empty_map_leaves_the_radiograph() -> None:
    prediction = np.zeros((60, 90), np.uint8)
    prediction[20:40, 30:60] = 1

    picture = draw_heatmap(RADIOGRAPH, np.zeros((6, 9)), prediction, side=60)

    assert (picture[20, 35:55] == 255).all()
    assert (picture[30, 40:50] == picture[5, 5]).all()
