from __future__ import annotations

import pandas as pd
import pytest

from pipeline.dataset.validation.doubtful import DOUBTFUL, Doubtful
from pipeline.dataset.validation.resemblance import (
    FEWEST,
    ODDS,
    find_doubtful,
    typical_borders,
)
from pipeline.table_files import rows_of
from tests.dataset.validation.heart_masks import judged_manifest, two_conventions


def listed(manifest: pd.DataFrame) -> dict[str, str]:
    return {row.image_id: row.looks_like for row in rows_of(find_doubtful(manifest), Doubtful)}


def test_masks_of_the_other_convention_are_found_and_no_others() -> None:
    manifest = two_conventions(swapped=(3, 17, 55))

    assert listed(manifest) == {
        "Normal/3": "heart",
        "Normal/17": "heart",
        "Normal/55": "standard",
    }


def test_a_row_says_how_sure_it_is_and_what_was_measured() -> None:
    (row,) = rows_of(find_doubtful(two_conventions(swapped=(3,))), Doubtful)

    assert (row.convention, row.convention_by, row.looks_like) == ("standard", "", "heart")
    assert row.odds >= ODDS
    assert abs(row.gap - row.other_gap) < abs(row.gap - row.own_gap)
    assert row.command == "lungseg data convention heart Normal/3"


def test_the_command_of_a_name_with_blanks_can_be_pasted() -> None:
    manifest = two_conventions(swapped=(3,))
    manifest.loc[3, "image_id"] = "Viral Pneumonia/it's 1"

    (row,) = rows_of(find_doubtful(manifest), Doubtful)

    assert row.command == """lungseg data convention heart 'Viral Pneumonia/it'"'"'s 1'"""


def test_what_a_person_confirmed_is_not_listed() -> None:
    manifest = two_conventions(swapped=(3, 17))
    manifest.loc[3, "convention_by"] = "person"
    manifest.loc[17, "convention_by"] = "sheet"

    assert list(listed(manifest)) == ["Normal/17"]


def test_one_convention_gives_no_list() -> None:
    manifest = judged_manifest(["standard"] * 60, [number < 30 for number in range(60)])

    found = find_doubtful(manifest)

    assert list(found.columns) == list(DOUBTFUL.columns)
    assert found.empty


@pytest.mark.parametrize(("pairs", "found"), [(FEWEST, 1), (FEWEST - 1, 0)])
def test_a_convention_of_few_pairs_judges_nothing(pairs: int, found: int) -> None:
    conventions = ["standard"] * 40 + ["heart"] * pairs
    hearts = [number == 3 or number >= 40 for number in range(len(conventions))]

    assert len(find_doubtful(judged_manifest(conventions, hearts))) == found


def test_many_pairs_of_one_patient_are_few() -> None:
    manifest = two_conventions(swapped=(3,))
    manifest.loc[manifest["convention"] == "heart", "patient"] = "P1"

    assert find_doubtful(manifest).empty


def test_a_pair_does_not_speak_for_itself() -> None:
    """Nor does its patient: the wrong ones of one patient would make each other look right."""
    manifest = two_conventions(swapped=range(8))
    manifest.loc[range(8), "patient"] = "P1"

    assert sorted(listed(manifest)) == [f"Normal/{number}" for number in range(8)]


def test_masks_without_two_lungs_are_not_judged() -> None:
    manifest = two_conventions(swapped=(3, 17))
    manifest.loc[3, ["medial_left", "medial_right"]] = ""

    assert list(listed(manifest)) == ["Normal/17"]


def test_an_empty_manifest_gives_no_list() -> None:
    assert find_doubtful(two_conventions().iloc[:0]).empty


def test_three_conventions_are_told_apart() -> None:
    manifest = two_conventions(swapped=(3,))
    third = judged_manifest(["wide"] * 30, [True] * 30)
    left = third["medial_left"].str.split().map(lambda row: [str(int(one) - 120) for one in row])
    third = third.assign(medial_left=left.str.join(" "), image_id="Wide/" + third.index.astype(str))

    assert listed(pd.concat([manifest, third], ignore_index=True)) == {"Normal/3": "heart"}


def test_the_order_of_the_pairs_and_one_pair_more_change_nothing_of_the_list() -> None:
    manifest = two_conventions(swapped=(3, 17, 55))

    assert listed(manifest.sample(frac=1, random_state=1)) == listed(manifest)
    assert listed(manifest.iloc[:-1]) == listed(manifest)


def test_typical_borders_are_of_each_convention() -> None:
    typical = typical_borders(two_conventions())

    assert list(typical) == ["standard", "heart"]
    assert typical["standard"][-1, 1] > typical["heart"][-1, 1] + 0.1
