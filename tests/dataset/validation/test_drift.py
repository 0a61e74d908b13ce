from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.conventions import STANDARD
from pipeline.dataset.manifest import quarantine_table
from pipeline.dataset.validation.drift import (
    ENOUGH,
    OTHER_CLASSES,
    PREVIOUS_VERSION,
    SHIFT_COLUMNS,
    shift_table,
)
from pipeline.dataset.validation.expectations import check_expectations
from pipeline.dataset.validation.populations import PREVIOUS, Profile, read_previous
from pipeline.dataset.validation.whole import DatasetTables, inspect_dataset
from pipeline.errors import StageError
from pipeline.files import write_json
from pipeline.params import Params
from tests.dataset.validation.test_expectations import manifest as sound_manifest
from tests.manifests import digest


def pairs(name: str, n: int, area: float = 0.25, mean: float = 150, seed: int = 0) -> pd.DataFrame:
    """A manifest of one class around a lung area and a mean grey value."""
    random = np.random.default_rng([seed, *name.encode()])
    return pd.DataFrame(
        {
            "image_id": [f"{name}/{name}-{number}" for number in range(n)],
            "class_name": name,
            "convention": STANDARD,
            "image_sha256": [digest(f"{seed} {name} {number}") for number in range(n)],
            "mean": random.normal(mean, 15, n),
            "lung_area": random.normal(area, 0.05, n),
        }
    )


def together(*classes: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(classes, ignore_index=True)


def shifts(manifest: pd.DataFrame, previous: Profile) -> dict[tuple[str, str, str], float]:
    table = shift_table(manifest, previous)
    assert table["subject"].is_unique
    keys = table[["class_name", "quantity", "against"]].itertuples(index=False, name=None)
    return dict(zip(keys, table["shift"], strict=True))


def test_a_first_version_is_compared_between_its_classes_alone() -> None:
    found = shifts(together(pairs("Normal", 200), pairs("COVID", 100, area=0.36)), Profile())

    assert {against for _, _, against in found} == {OTHER_CLASSES}
    assert found["COVID", "lung_area", OTHER_CLASSES] == pytest.approx(2.2, abs=0.4)
    assert found["Normal", "lung_area", OTHER_CLASSES] == pytest.approx(-2.2, abs=0.4)
    assert abs(found["COVID", "intensity", OTHER_CLASSES]) < 0.5


def test_a_new_class_is_compared_with_the_previous_versions_other_classes() -> None:
    before = together(pairs("Normal", 100), pairs("Tuberculosis", 100))
    table = shift_table(together(before, pairs("COVID", 60, area=0.4)), Profile.of(before))

    row = table.set_index(["class_name", "quantity", "against"]).loc[
        "COVID", "lung_area", PREVIOUS_VERSION
    ]
    assert row["shift"] == pytest.approx(3, abs=0.5)
    assert row["reference"] == pytest.approx(before["lung_area"].median(), abs=1e-6)
    assert str(row["subject"]).startswith("COVID (new): lung area 0.39")


def test_a_few_pairs_of_another_kind_are_seen_in_a_large_class() -> None:
    before = pairs("Normal", 300)
    added = pairs("Normal", 15, area=0.36, mean=190, seed=1)

    found = shifts(together(before, added), Profile.of(before))

    assert found["Normal", "lung_area", PREVIOUS_VERSION] == pytest.approx(2.2, abs=0.5)
    assert found["Normal", "intensity", PREVIOUS_VERSION] == pytest.approx(2.7, abs=0.5)


@given(st.integers(ENOUGH, 60), st.integers(ENOUGH, 60), st.integers(0, 60))
def test_what_was_added_is_known_whatever_left(former: int, added: int, left: int) -> None:
    before, delivery = pairs("Normal", former), pairs("Normal", added, area=0.4, seed=1)

    table = shift_table(together(before.iloc[left:], delivery), Profile.of(before))

    row = table[table["quantity"] == "lung_area"].iloc[0]
    assert row["subject"].startswith(f"Normal ({added} added): lung area ")
    assert row["found"] == pytest.approx(delivery["lung_area"].mean(), abs=1e-6)
    assert row["reference"] == pytest.approx(before["lung_area"].mean(), abs=1e-6)


def test_pairs_that_a_person_gives_another_convention_are_not_mixed_with_what_was_added() -> None:
    before = together(pairs("Normal", 100), drawn("covid", pairs("Normal", 50, area=0.4, seed=1)))
    moved = before.assign(convention=["covid"] * 25 + ["standard"] * 75 + ["covid"] * 50)
    moved.loc[:24, "lung_area"] += 0.15
    previous = Profile.of(before.assign(lung_area=moved["lung_area"]))

    table = shift_table(together(moved, pairs("Normal", 40, seed=2)), previous)

    areas = table[table["quantity"] == "lung_area"].set_index("convention")
    assert areas.loc["standard", "subject"].startswith("Normal (standard, 40 added): lung area 0.2")
    assert abs(areas.loc["standard", "shift"]) < 1
    assert areas.loc["covid", "subject"].startswith("Normal (covid): lung area ")
    assert " --new --class Normal --instead-of standard`" in areas.loc["standard", "remedy"]
    # That would record only what is new, and all of them were compared.
    assert "NAME --class Normal --instead-of covid`" in areas.loc["covid", "remedy"]


def test_a_class_that_got_another_convention_is_not_taken_for_a_new_one() -> None:
    before = together(pairs("Normal", 100), drawn("covid", pairs("COVID", 50, area=0.4, seed=1)))
    renamed = before.assign(convention="standard")

    table = shift_table(together(renamed, pairs("Normal", 40, seed=2)), Profile.of(before))

    row = table.set_index(["class_name", "quantity", "against"]).loc[
        "COVID", "lung_area", PREVIOUS_VERSION
    ]
    assert row["subject"].startswith("COVID (new in this convention): lung area ")
    assert "`lungseg data convention NAME --class COVID`" in row["remedy"]


def test_a_profile_that_does_not_name_its_radiographs_compares_classes_as_a_whole(
    tmp_path: Path,
) -> None:
    before = pairs("Normal", 100)
    content = Profile.of(before).model_dump(mode="json", exclude_defaults=True)
    del content["radiographs"]
    write_json(tmp_path / PREVIOUS, content)
    previous = read_previous(tmp_path)

    table = shift_table(together(before, pairs("Normal", 40, seed=1)), previous)

    assert table["subject"].str.startswith("Normal: ").tolist() == [True, True]
    assert previous.classes == Profile.of(before).classes


def test_a_profile_of_damaged_radiographs_is_refused(tmp_path: Path) -> None:
    Profile.of(pairs("Normal", 3)).write(tmp_path / PREVIOUS)
    text = (tmp_path / PREVIOUS).read_text()
    (tmp_path / PREVIOUS).write_text(text.replace('"radiographs": "', '"radiographs": "0'))

    with pytest.raises(StageError, match=r"radiographs: .*`git checkout data\.previous\.json`"):
        read_previous(tmp_path)


def test_masks_that_were_drawn_anew_are_compared_as_a_class() -> None:
    before = pairs("Normal", 100)
    redrawn = before.assign(lung_area=before["lung_area"] + 0.1)

    found = shifts(redrawn, Profile.of(before))

    assert found["Normal", "lung_area", PREVIOUS_VERSION] > 1.5
    assert found["Normal", "intensity", PREVIOUS_VERSION] == pytest.approx(0, abs=1e-6)


def drawn(convention: str, manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest.assign(convention=convention)


def test_a_profile_of_one_standard_convention_says_nothing_of_conventions(tmp_path: Path) -> None:
    standard, wide = (Profile.of(drawn(name, pairs("Normal", 20))) for name in ("standard", "wide"))

    standard.write(tmp_path / "standard.json")

    assert "conventions" not in (tmp_path / "standard.json").read_text()
    assert standard.within("wide") is None
    assert wide.within("standard") is None
    assert standard.within("standard") == wide.within("wide")
    assert Profile().within("standard") is None


def test_a_class_of_another_convention_is_not_compared_with_the_rest_in_lung_area() -> None:
    before = together(pairs("Normal", 100), pairs("Tuberculosis", 100))
    wide = drawn("wide", pairs("COVID", 60, area=0.4, mean=200))

    found = shifts(together(before, wide), Profile.of(before))

    assert not any(name == "COVID" and quantity == "lung_area" for name, quantity, _ in found)
    assert found["COVID", "intensity", OTHER_CLASSES] > 1.5
    assert found["COVID", "intensity", PREVIOUS_VERSION] > 1.5
    assert abs(found["Normal", "lung_area", OTHER_CLASSES]) < 0.5


def test_lung_areas_are_compared_with_the_previous_version_within_a_convention() -> None:
    before = together(pairs("COVID", 100), drawn("wide", pairs("COVID", 50, area=0.4, seed=1)))
    added = drawn("wide", pairs("COVID", 20, area=0.25, seed=2))

    table = shift_table(together(before, added), Profile.of(before)).set_index("subject")

    areas = table[table["quantity"] == "lung_area"]
    assert areas["convention"].tolist() == ["standard", "wide"]
    assert areas["shift"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert areas["shift"].iloc[1] < -2
    assert areas.index[1].startswith("COVID (wide, 20 added): lung area 0.2")
    assert set(table.loc[table["quantity"] == "intensity", "convention"]) == {""}


def test_a_class_that_is_new_in_a_convention_is_compared_with_all_that_is_drawn_to_it() -> None:
    before = together(pairs("Normal", 100), drawn("wide", pairs("COVID", 50, area=0.4)))
    added = drawn("wide", pairs("Tuberculosis", 20, area=0.25))

    table = shift_table(together(before, added), Profile.of(before))

    rows = table[(table["class_name"] == "Tuberculosis") & (table["quantity"] == "lung_area")]
    assert rows["against"].tolist() == [PREVIOUS_VERSION, OTHER_CLASSES]
    assert (rows["shift"] < -2).all()
    assert rows["subject"].iloc[0].startswith("Tuberculosis (wide, new): lung area 0.2")


def test_a_shift_of_lung_area_gives_the_command_that_records_another_convention() -> None:
    before = together(pairs("Normal", 100), drawn("wide", pairs("Old Class", 50, area=0.4)))
    added = pairs("New Class", 20, area=0.4)

    alone = shift_table(together(pairs("Normal", 100), added), Profile.of(pairs("Normal", 100)))
    beside = shift_table(together(before, added), Profile.of(before))

    def remedy(table: pd.DataFrame, quantity: str, against: str) -> str:
        rows = table.set_index(["class_name", "quantity", "against"])["remedy"]
        return str(rows["New Class", quantity, against])

    command = "`lungseg data convention NAME --new --class 'New Class'`"
    assert remedy(alone, "lung_area", PREVIOUS_VERSION).endswith(command)
    assert remedy(alone, "lung_area", OTHER_CLASSES).endswith("NAME --class 'New Class'`")
    assert remedy(beside, "lung_area", PREVIOUS_VERSION).endswith(
        "NAME --new --class 'New Class' --instead-of standard`"
    )
    assert remedy(alone, "intensity", OTHER_CLASSES) == ""


@pytest.mark.parametrize(("here", "there"), [(ENOUGH - 1, 50), (50, ENOUGH - 1)])
def test_too_few_pairs_are_not_compared(here: int, there: int) -> None:
    manifest = together(pairs("Normal", here), pairs("COVID", there))

    assert shift_table(manifest, Profile()).empty
    assert shift_table(manifest, Profile()).columns.tolist() == list(SHIFT_COLUMNS)
    small = shifts(pairs("Normal", here), Profile.of(pairs("Normal", there)))
    assert small == {}


def test_a_class_that_never_varies_gives_a_finite_shift() -> None:
    equal = pairs("Normal", 20).assign(lung_area=0.25, mean=150.0)
    other = pairs("COVID", 20).assign(lung_area=0.30, mean=150.0)

    found = shifts(together(equal, other), Profile())

    assert found["COVID", "lung_area", OTHER_CLASSES] == pytest.approx(5)
    assert found["COVID", "intensity", OTHER_CLASSES] == 0


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    told = Profile.of(together(pairs("Normal", 30), pairs("Viral Pneumonia", 12)))

    told.write(tmp_path / PREVIOUS)

    assert read_previous(tmp_path) == told
    assert told.classes["Viral Pneumonia"].n == 12
    assert told.all is not None
    assert told.all.n == 42
    assert list(told.all.lung_area.quantiles) == sorted(told.all.lung_area.quantiles)


def test_a_first_version_has_an_empty_profile(tmp_path: Path) -> None:
    told = Profile.of(pairs("Normal", 0))

    told.write(tmp_path / PREVIOUS)

    assert (tmp_path / PREVIOUS).read_text() == "{}\n"
    assert read_previous(tmp_path) == read_previous(tmp_path / "nowhere") == Profile() == told


def warnings(table: pd.DataFrame, params: Params, folder: Path) -> list[str]:
    """What Great Expectations says of a shift table beside a sound manifest."""
    tables = DatasetTables(sound_manifest(Normal=20), quarantine_table([]), table)
    result = check_expectations(tables, params.validate_, folder)
    assert result.critical == []
    return result.warnings


@pytest.mark.slow
def test_a_shift_becomes_a_warning_that_names_it(params: Params, tmp_path: Path) -> None:
    before = together(pairs("Normal", 100), pairs("Tuberculosis", 100))
    delivery = pairs("COVID", 60, area=0.4, mean=200)

    said = warnings(
        shift_table(together(before, delivery), Profile.of(before)), params, tmp_path / "shifted"
    )

    assert len(said) == 4
    assert said[0].startswith("COVID (new): lung area 0.393 against 0.247 in the previous version")
    assert "(another annotation convention?)" in said[0]
    assert said[3].startswith("COVID: intensity 20")
    assert "(another scanner or exposure?)" in said[3]
    assert warnings(shift_table(before, Profile()), params, tmp_path / "first") == []
    assert warnings(shift_table(before.iloc[:0], Profile()), params, tmp_path / "empty") == []


def beyond(table: pd.DataFrame, params: Params) -> set[tuple[str, str, str]]:
    limits = {
        "lung_area": params.validate_.max_area_shift,
        "intensity": params.validate_.max_intensity_shift,
    }
    flagged = table[table["shift"].abs() > table["quantity"].map(limits)]
    columns = ["class_name", "quantity", "against"]
    return set(flagged[columns].itertuples(index=False, name=None))


@pytest.mark.slow
def test_of_real_deliveries_only_the_other_annotation_convention_is_flagged(
    real_data: Path, params: Params
) -> None:
    first, _, _ = inspect_dataset(real_data / "COVID-19_Radiography_Dataset")
    increment, _, _ = inspect_dataset(real_data / "increment_COVID")

    assert beyond(shift_table(first, Profile()), params) == set()
    assert beyond(shift_table(together(first, increment), Profile.of(first)), params) == {
        ("COVID", "lung_area", PREVIOUS_VERSION),
        ("COVID", "lung_area", OTHER_CLASSES),
    }
    same_class = together(first, increment.assign(class_name="Normal"))
    assert beyond(shift_table(same_class, Profile.of(first)), params) == {
        ("Normal", "lung_area", PREVIOUS_VERSION),
    }


@pytest.mark.slow
def test_the_synthetic_classes_are_not_flagged(params: Params, tmp_path: Path) -> None:
    from pipeline.dataset.synthetic.phantom import write_dataset

    write_dataset(tmp_path / "data", 120, seed=0)
    manifest, _, _ = inspect_dataset(tmp_path / "data")

    assert beyond(shift_table(manifest, Profile()), params) == set()
