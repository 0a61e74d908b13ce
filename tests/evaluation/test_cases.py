from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.cases import choose_cases


def table_of(dice: list[float]) -> pd.DataFrame:
    image_ids = [f"N/{i:02}" for i in range(len(dice))]
    return pd.DataFrame({"image_id": image_ids, "dice": dice, "pixel_sha256": image_ids})


def test_cases_are_the_ends_and_the_middle_of_the_ranking() -> None:
    table = table_of([0.01 * rank for rank in range(11)])

    assert choose_cases(table, 2) == {
        "worst": ["N/00", "N/01"],
        "median": ["N/04", "N/05"],
        "best": ["N/10", "N/09"],
    }


def test_equal_dice_is_ranked_by_image_id() -> None:
    assert choose_cases(table_of([0.5] * 3), 1) == {
        "worst": ["N/00"],
        "median": ["N/01"],
        "best": ["N/02"],
    }


def test_of_radiographs_that_look_alike_one_is_a_case() -> None:
    table = table_of([0.1, 0.1, 0.2, 0.3, 0.4, 0.9, 0.9])
    table.loc[[1, 2], "pixel_sha256"] = table.loc[0, "pixel_sha256"]  # the mask of 2 is another
    table.loc[6, "pixel_sha256"] = table.loc[5, "pixel_sha256"]

    assert choose_cases(table, 2) == {
        "worst": ["N/00", "N/02"],
        "median": ["N/03"],
        "best": ["N/05", "N/04"],
    }


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 9))
def test_no_case_is_shown_twice_and_as_many_as_there_are(dice: list[float], count: int) -> None:
    chosen = choose_cases(table_of(dice), count)

    shown = [image_id for image_ids in chosen.values() for image_id in image_ids]
    assert len(shown) == len(set(shown)) == min(3 * count, len(dice))
    assert all(len(image_ids) <= count for image_ids in chosen.values())
    assert len(chosen["worst"]) >= len(chosen["best"]) >= len(chosen["median"])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=40), st.integers(1, 9))
def test_no_worst_case_is_better_than_a_median_one_and_none_of_those_than_a_best(
    dice: list[float], count: int
) -> None:
    table = table_of(dice).set_index("image_id", drop=False)
    worst, median, best = (
        table.loc[ids, "dice"] for ids in choose_cases(table.reset_index(drop=True), count).values()
    )

    assert worst.max() <= median.min()
    assert median.max() <= best.min()
