from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.evaluation.asked import (
    CLEAR,
    AskedAnswer,
    AskedIn,
    asked_table,
    better_explained,
)
from tests.stages.evaluated import Bilingual

RADIOGRAPH = np.pad(np.full((20, 20), 60, np.uint8), 20, constant_values=200)


def answers(image_id: str, convention: str, **dice: float) -> list[AskedAnswer]:
    return [
        AskedAnswer(
            image_id=image_id,
            class_name="Normal",
            split="train",
            convention=convention,
            convention_by="import",
            asked=asked,
            dice=value,
            predicted_area=0.2,
            lung_area=0.2,
        )
        for asked, value in dice.items()
    ]


def test_only_a_clear_gain_is_named_and_the_largest_first() -> None:
    table = asked_table(
        [
            *answers("little", "standard", standard=0.9, heart=0.9 + CLEAR / 2),
            *answers("clear", "standard", standard=0.9, heart=0.93),
            *answers("right", "heart", standard=0.8, heart=0.95),
            *answers("clearer", "heart", standard=0.95, heart=0.8),
        ]
    )

    found = better_explained(table)

    assert [(one.image_id, one.asked) for one in found] == [
        ("clearer", "standard"),
        ("clear", "heart"),
    ]
    assert (found[1].own_dice, found[1].dice) == (0.9, 0.93)
    assert (found[1].convention, found[1].convention_by) == ("standard", "import")


def test_of_three_conventions_the_best_is_named() -> None:
    table = asked_table(answers("a", "standard", standard=0.8, heart=0.85, wide=0.9))

    assert [one.asked for one in better_explained(table)] == ["wide"]


@pytest.mark.parametrize("rows", [[], answers("a", "strange", standard=0.5, heart=0.9)])
def test_what_the_network_does_not_know_is_not_judged(rows: list[AskedAnswer]) -> None:
    assert better_explained(asked_table(rows)) == []


def test_all_answers_are_in_the_convention_that_was_told() -> None:
    network = Bilingual()

    (told,) = AskedIn(network, "heart").predict([RADIOGRAPH], [(120, 120)])

    (heart,) = network.predict([RADIOGRAPH], [(120, 120)], ["heart"])
    (standard,) = network.predict([RADIOGRAPH], [(120, 120)])
    assert np.array_equal(told, heart)
    assert not np.array_equal(told, standard)


def test_an_unknown_convention_is_the_default() -> None:
    told = AskedIn(Bilingual(), "shoulder")

    assert told.conventions == ("standard",)
    assert np.array_equal(told.predict([RADIOGRAPH])[0], Bilingual().predict([RADIOGRAPH])[0])


def test_another_convention_is_refused() -> None:
    with pytest.raises(StageError, match="found 'standard'"):
        AskedIn(Bilingual(), "heart").predict([RADIOGRAPH], None, ["standard"])
