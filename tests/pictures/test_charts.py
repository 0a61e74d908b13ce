from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.pictures.charts import (
    MANY,
    class_label,
    draw_curves,
    draw_dice,
    draw_distributions,
)


def scores_of(count: int, name: str = "Normal") -> pd.DataFrame:
    return pd.DataFrame({"class_name": name, "dice": np.linspace(0.7, 1, count)})


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "loss": [0.3, 0.2, 0.1],
        "val_loss": [0.3, 0.2, 0.25],
        "dice": [0.7, 0.8, 0.9],
        "val_dice": [0.7, 0.8, 0.79],
    }
)


def test_a_chart_has_the_same_bytes_each_time_and_no_date() -> None:
    first, second = (draw_curves(HISTORY, "loss", 2) for _ in range(2))

    assert first == second
    assert "<dc:date>" not in first
    assert draw_dice(scores_of(9)) == draw_dice(scores_of(9))


def test_a_chart_changes_with_what_it_shows() -> None:
    charts = {
        draw_curves(HISTORY, "loss", 2),
        draw_curves(HISTORY, "loss", 3),
        draw_curves(HISTORY, "dice", 2),
        draw_curves(HISTORY[:2], "dice", 2),
    }

    assert len(charts) == 4


@pytest.mark.parametrize("name", ["A $x_1$ B", "a < b & c", "Viral Pneumonia"])
def test_any_class_name_can_be_drawn(name: str) -> None:
    assert draw_dice(scores_of(3, name)).rstrip().endswith("</svg>")


def test_thousands_of_radiographs_do_not_swell_the_chart() -> None:
    assert "<image" not in draw_dice(scores_of(MANY))
    assert len(draw_dice(scores_of(20_000))) < 300_000


def test_a_training_of_one_epoch_can_be_drawn() -> None:
    assert draw_curves(HISTORY[:1], "loss", 1).rstrip().endswith("</svg>")


def test_distributions_show_a_class_beside_another() -> None:
    table = pd.DataFrame({"class_name": ["A"] * 30 + ["B"], "area": [*range(30), 4]})

    chart = draw_distributions(table, "area", "Area")

    assert chart.rstrip().endswith("</svg>")
    assert chart == draw_distributions(table, "area", "Area")
    assert chart != draw_distributions(table[:30], "area", "Area")


def test_equal_values_have_a_distribution() -> None:
    table = pd.DataFrame({"class_name": ["A", "A"], "area": [0.3, 0.3]})

    assert draw_distributions(table, "area", "Area").rstrip().endswith("</svg>")


@pytest.mark.parametrize("name", ["$x_1$ <b>#?", "д" * 99, "肺炎", "_hidden", '"q";[x]{y}|\\z*'])
def test_a_class_of_any_name_is_drawn(name: str) -> None:
    table = scores_of(9, name)

    assert draw_dice(table).endswith("</svg>\n")
    assert draw_distributions(table, "dice", "Dice").endswith("</svg>\n")


def test_letters_that_the_font_lacks_are_left_to_the_readers_fonts() -> None:
    assert "肺炎" in draw_dice(scores_of(9, "肺炎"))
    assert "<text" not in draw_dice(scores_of(9, "Пневмония"))


def test_a_label_is_not_longer_than_a_chart_has_room_for() -> None:
    assert class_label("Viral Pneumonia") == "Viral Pneumonia"
    assert class_label("a" * 40 + "b" * 40) == f"{'a' * 15}…{'b' * 14}"
    assert class_label("_first") == "\N{NO-BREAK SPACE}_first"
