"""Which radiographs and scores of two models are compared, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ReleaseError
from pipeline.evaluation import metrics
from pipeline.release.changed_cases import choose_changed
from pipeline.release.paired_charts import draw_differences, draw_paired_dice
from pipeline.release.paired_scores import ComparedModel, pair_scores
from pipeline.release.release_tables import comparison_table
from tests.release.test_gate import score_table

DICE = {"COVID": [0.9, 0.8, 0.7], "Normal": [0.95, 0.9]}
BETTER = {"COVID": [0.9, 0.85, 0.8], "Normal": [0.9, 0.9]}


def split(table: pd.DataFrame, **changed: str) -> pd.DataFrame:
    """The test split of a table, in which the radiographs named are in another one."""
    found = table[["image_id", "pixel_sha256"]].assign(split="test", mask_sha256="m")
    for pixels, name in changed.items():
        row = {"image_id": "other", "pixel_sha256": f"COVID/{pixels}", "split": name}
        found.loc[len(found)] = pd.Series(row)
    return found


def model(table: pd.DataFrame, **given: Any) -> ComparedModel:
    return ComparedModel(
        **{
            "name": "a model",
            "detail": "",
            "per_image": table,
            "split": split(table),
            "segmenter": None,
            "threshold": 0.5,
            **given,
        }
    )


def test_scores_are_paired_over_all_and_by_class() -> None:
    # The rows of a table may be in any order.
    paired = pair_scores(model(score_table(DICE)), model(score_table(BETTER).sample(frac=1)))

    found = {change.part: change for change in paired.of("dice")}
    assert [*found] == ["all", "COVID", "Normal"]
    assert found["all"].difference == pytest.approx(0.02, abs=0.003)
    assert found["COVID"].difference == pytest.approx(0.05, abs=0.003)
    assert found["Normal"].difference == pytest.approx(-0.025, abs=0.003)
    for change in found.values():
        assert change.interval
        assert change.interval[0] <= change.difference <= change.interval[1]
    assert {change.measure for change in paired.changes} >= {"accuracy", "iou", "recall"}
    assert "tp" not in {change.measure for change in paired.changes}
    assert paired.failures == (2, 2)
    assert paired.notes == ()


def test_a_difference_is_certain_when_its_interval_leaves_zero_out() -> None:
    paired = pair_scores(
        model(score_table({"COVID": [0.9] * 6})), model(score_table({"COVID": [0.95] * 6}))
    )

    assert all(change.certain for change in paired.of("dice"))
    assert not any(change.certain for change in paired.of("specificity"))  # the same in both


def test_only_what_both_were_tested_on_is_compared() -> None:
    before = score_table({**DICE, "TB": [0.9, 0.9]})
    after = score_table({**BETTER, "Opacity": [0.9]})
    after.loc[after["image_id"] == "COVID/0", "pixel_sha256"] = "another picture"

    paired = pair_scores(model(before), model(after))

    assert set(paired.labels["image_id"]) == {"COVID/1", "COVID/2", "Normal/0", "Normal/1"}
    assert paired.notes[0] == ("Compared on 4 radiographs, of 7 that A was tested on and 6 of B.")


@pytest.mark.parametrize("name", ["train", "val"])
def test_what_one_of_them_learned_from_is_left_out(name: str) -> None:
    before, after = score_table(DICE), score_table(BETTER)

    paired = pair_scores(model(before), model(after, split=split(after, **{"1": name})))

    assert "COVID/1" not in set(paired.labels["image_id"])
    assert "Left out: 1 tested on by both that A or B learned from." in paired.notes
    everything = split(after).assign(split=name)
    with pytest.raises(ReleaseError, match="all 5 test radiographs in common are in the training"):
        pair_scores(model(before), model(after, split=everything))


def test_tables_of_other_radiographs_are_refused() -> None:
    with pytest.raises(ReleaseError, match=r"A and B: found no test radiograph in common among 3"):
        pair_scores(
            model(score_table({"COVID": [0.9] * 3}), name="A"),
            model(score_table({"TB": [0.9] * 2}), name="B"),
        )


def test_a_table_without_dice_is_refused() -> None:
    table = score_table(DICE)

    with pytest.raises(ReleaseError, match="table of scores has no column dice"):
        pair_scores(model(table), model(table.drop(columns="dice")))


def test_an_earlier_table_is_compared_in_what_it_has() -> None:
    before = score_table(DICE)[["image_id", "pixel_sha256", "dice"]]
    after = score_table(BETTER)[["image_id", "class_name", "pixel_sha256", "group", "dice", "iou"]]
    after = after.assign(distance=np.inf, source="clinic")

    paired = pair_scores(model(before, split=None), model(after))

    assert {change.measure for change in paired.changes} == {"dice"}
    assert [change.part for change in paired.changes] == ["all", "COVID", "Normal"]
    assert paired.notes == (
        "Only B has iou, distance: not compared.",
        "A has no split.csv: whether it learned from these is not known.",
    )
    bare = pair_scores(model(before), model(before.assign(dice=0.5)))
    assert "Neither table says who is of one patient: each radiograph counts as a group." in (
        bare.notes
    )
    assert set(bare.labels["class_name"]) == {"COVID", "Normal"}


def test_a_note_names_a_few_of_many_columns() -> None:
    before = score_table(DICE)[["image_id", "pixel_sha256", "dice"]]

    (note, *_) = pair_scores(model(before, split=None), model(score_table(BETTER))).notes

    assert note.startswith("Only B has accuracy, iou, ")
    assert note.endswith(" more: not compared.")
    assert "spacing" not in note


def test_sources_are_compared_too_and_what_is_no_number_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "SMALLEST_SOURCE", 3)
    sources = ["a", "a", "", "a", ""]
    before = score_table(DICE).assign(distance=[1.0, 2.0, np.inf, 4.0, np.nan], source=sources)
    after = score_table(BETTER).assign(distance=[1.0, 1.0, 1.0, 1.0, 1.0], source=sources)

    paired = pair_scores(model(before), model(after))

    found = {(change.kind, change.part): change for change in paired.of("distance")}
    assert found["all", "all"].cases == found["source", "a"].cases == 3
    assert found["all", "all"].difference == pytest.approx(1 - 7 / 3)
    assert found["source", "(not recorded)"].cases == 0
    lines = table_lines(paired)
    assert "source a" in lines
    assert ["distance", "0"] in [line.split() for line in lines]
    assert all(
        draw(paired) for draw in (draw_paired_dice, lambda one: draw_differences(one.of("dice")))
    )


def test_sources_of_few_radiographs_are_compared_as_one() -> None:
    sources = [f"https://example.org/{number}" for number in range(4)] + [""]
    before, after = (score_table(dice).assign(source=sources) for dice in (DICE, BETTER))

    found = pair_scores(model(before), model(after)).of("dice")

    assert {one.part: one.cases for one in found if one.kind == "source"} == {
        "(not recorded)": 1,
        "(other sources)": 4,
    }


def table_lines(paired: Any) -> list[str]:
    from rich.console import Console

    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(comparison_table(paired))
    return [line.strip() for line in captured.get().splitlines()]


def test_one_group_has_no_interval_and_that_is_said() -> None:
    before, after = (score_table(one).assign(group="one") for one in (DICE, BETTER))

    paired = pair_scores(model(before), model(after))

    assert [change.interval for change in paired.of("dice")] == [None] * 3
    assert paired.notes == ("All radiographs are of one group, so there are no intervals.",)
    assert any(line.split()[-1:] == ["none"] for line in table_lines(paired))


def test_other_reference_masks_are_said() -> None:
    before, after = score_table(DICE), score_table(BETTER)
    corrected = split(after)
    corrected.loc[:1, "mask_sha256"] = "corrected"

    paired = pair_scores(model(before), model(after, split=corrected))

    assert paired.notes[0].startswith("2 have another reference mask in B than in A")


def test_the_radiographs_that_changed_most_are_chosen() -> None:
    paired = pair_scores(model(score_table(DICE)), model(score_table(BETTER)))

    cases = choose_changed(paired)

    found = [(case.direction, case.image_id) for case in cases]
    assert found == [
        ("worsened", "Normal/0"),
        ("improved", "COVID/2"),
        ("improved", "COVID/1"),
    ]
    assert [case.image_id for case in choose_changed(paired, 1)] == ["Normal/0", "COVID/2"]
    assert cases[1].gain == pytest.approx(0.1, abs=0.005)


def test_answers_in_another_convention_are_said_and_each_convention_is_compared_apart() -> None:
    before, after = score_table(DICE), score_table(BETTER)
    after["convention"] = ["heart", "standard", "standard", "heart", "standard"]

    paired = pair_scores(model(before), model(after))

    assert [note for note in paired.notes if "convention" in note] == [
        "2 are answered in another convention by B (heart) than by A (standard), as it was tested "
        "so or does not know the other: there the difference is not the models' alone."
    ]
    parts = {(change.kind, change.part): change.cases for change in paired.of("dice")}
    assert parts["convention", "heart"] == 2
    assert parts["convention", "standard"] == 3
    same = pair_scores(model(after), model(after))
    assert not any("convention" in note for note in same.notes)
    answered = before.assign(convention=after["convention"], asked="standard")  # by the gate
    assert any("2 are" in one for one in pair_scores(model(answered), model(after)).notes)
