from __future__ import annotations

import re

import pandas as pd

from pipeline.pictures.model_charts import COLOURS, draw_reliability


def bins_of(*classes: str, last: int = 14) -> pd.DataFrame:
    rows = [
        {"class_name": name, "bin": one, "pixels": 9, "probability": one / 15, "lung": one / 15}
        for name in classes
        for one in (0, 5, last)
    ]
    return pd.DataFrame(rows)


def paths(svg: str, wanted: str) -> list[tuple[str, str]]:
    """Shape and style of the paths of a chart whose style has `wanted`."""
    found = re.findall(r'<path d="([^"]+)" clip-path="[^"]+" style="([^"]+)"', svg)
    return [(shape, style) for shape, style in found if wanted in style]


def test_bars_stay_where_they_are_when_the_highest_bins_are_empty() -> None:
    low, high = (
        [
            shape.split()[1::3]
            for shape, _ in paths(draw_reliability(bins_of("N", last=last), ["N"], 15), "opacity")
        ]
        for last in (6, 14)
    )

    assert len(low) == len(high) == 3
    assert low[:2] == high[:2]
    assert low[2] != high[2]


def test_of_many_classes_no_two_lines_look_alike() -> None:
    names = [f"class {place:02}" for place in range(2 * len(COLOURS))]

    lines = paths(draw_reliability(bins_of(*names), names, 15), "stroke-width: 1.5")

    assert len(lines) == len(names)
    assert len({style for _, style in lines}) == len(names)
