from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.metadata.sheet import read_sheet
from pipeline.dataset.splits.similarity import perceptual_hash
from pipeline.errors import StageError
from pipeline.files import read_json
from pipeline.params import Params, SplitParams
from pipeline.radiograph.reading import pixel_sha256, read_radiograph
from pipeline.stages import split
from pipeline.stages.split import assign_splits, mask_spacing, run, split_at
from tests.manifests import digest, look, make_manifest, write_manifest

SHARES = SplitParams(
    val=0.25,
    test=0.25,
    near_duplicate_distance=6,
    max_source_pairs=1000,
    max_patient_pairs=1000,
    collections=["collection"],
)


@pytest.mark.parametrize(
    ("position", "expected"),
    [(0.0, "test"), (0.2499, "test"), (0.25, "val"), (0.4999, "val"), (0.5, "train")],
)
def test_a_position_has_the_split_whose_share_it_is_in(position: float, expected: str) -> None:
    assert split_at(position, SHARES) == expected


def test_splits_come_in_the_shares_asked_for(params: Params) -> None:
    rows, _ = assign_splits(make_manifest({} for _ in range(5000)), params.split)

    shares = rows["split"].value_counts(normalize=True)

    assert shares["train"] == pytest.approx(0.70, abs=0.02)
    assert shares["val"] == pytest.approx(0.15, abs=0.02)
    assert shares["test"] == pytest.approx(0.15, abs=0.02)


@st.composite
def manifests_that_grow(draw: st.DrawFn) -> list[pd.DataFrame]:
    """Versions of one dataset, each with the rows of the one before and some more, shuffled."""
    row = st.fixed_dictionaries(
        {
            "class_name": st.sampled_from(["COVID", "Normal"]),
            "patient": st.sampled_from(["", "", "1", "2", "3", "4"]),
            "source": st.sampled_from(["", "collection", "u", "v", "w"]),
            "pixel_sha256": st.sampled_from([digest(number) for number in range(12)]),
            "perceptual_hash": st.builds(
                look,
                st.integers(0, 8),
                st.integers(0, 24),
            ),
        },
    )
    rows = make_manifest(draw(st.lists(row, min_size=2, max_size=24)))
    ends = draw(st.lists(st.integers(1, len(rows)), min_size=1, max_size=4).map(sorted))
    return [rows.iloc[draw(st.permutations(range(end)))] for end in ends]


@given(manifests_that_grow())
@settings(max_examples=3 * settings().max_examples)
def test_a_test_radiograph_stays_in_test_however_the_dataset_grows(
    versions: list[pd.DataFrame],
) -> None:
    splits = [assign_splits(rows, SHARES)[0].set_index("image_id")["split"] for rows in versions]

    for former, later in pairwise(splits):
        in_test = former.index[former == "test"]
        assert (later[in_test] == "test").all()


@given(manifests_that_grow())
@settings(max_examples=2 * settings().max_examples)
def test_no_patient_picture_or_near_duplicate_is_in_two_splits(
    versions: list[pd.DataFrame],
) -> None:
    rows, _ = assign_splits(versions[-1], SHARES)

    for column in ("group", "pixel_sha256", "perceptual_hash"):
        assert (rows.groupby(column)["split"].nunique() == 1).all()
    known = rows[rows["patient"] != ""]
    assert (known.groupby("patient")["split"].nunique() == 1).all()
    hashes = [int(one, 16) for one in rows["perceptual_hash"]]
    assert all(
        first_split == second_split
        for first, first_split in zip(hashes, rows["split"], strict=True)
        for second, second_split in zip(hashes, rows["split"], strict=True)
        if (first ^ second).bit_count() <= SHARES.near_duplicate_distance
    )


@given(manifests_that_grow(), st.randoms())
def test_the_order_of_the_rows_does_not_matter(versions: list[pd.DataFrame], random: Any) -> None:
    rows = versions[-1]
    order = list(range(len(rows)))
    random.shuffle(order)

    one, merges = assign_splits(rows, SHARES)
    other, other_merges = assign_splits(rows.iloc[order].reset_index(drop=True), SHARES)

    key = ["image_id", "group", "split"]
    pd.testing.assert_frame_equal(
        one[key].sort_values("image_id", ignore_index=True),
        other[key].sort_values("image_id", ignore_index=True),
    )
    assert merges == other_merges


def test_the_split_follows_the_origin_and_not_the_pixels() -> None:
    patients = [str(number) for number in range(40)]
    rows = [{"patient": patient} for patient in patients for _ in range(3)]

    table, _ = assign_splits(make_manifest(rows), SHARES)

    by_hash = [
        int(hashlib.sha256(f"patient {patient}".encode()).hexdigest()[:13], 16) / 16**13
        for patient in patients
    ]
    found = table.groupby("patient")["split"].first()
    assert [found[patient] for patient in patients] == [split_at(one, SHARES) for one in by_hash]


def test_the_spacing_of_a_mask_is_that_of_its_radiograph_scaled() -> None:
    manifest = make_manifest(
        [
            {"spacing": 0.2, "width": 1024, "height": 1024},
            {"spacing": 0.2, "width": 1024, "height": 900},  # scaled unequally
            {"spacing": math.nan},
        ]
    )

    spacing = mask_spacing(manifest)

    assert spacing[0] == pytest.approx(0.8)
    assert spacing[1:].isna().all()


def test_split_csv_has_the_columns_that_later_stages_read(tmp_path: Path, params: Params) -> None:
    write_manifest(tmp_path, make_manifest({} for _ in range(100)))

    line = run(params, tmp_path)

    rows = pd.read_csv(tmp_path / "artifacts/split/split.csv")
    assert list(rows.columns) == [
        "image_id",
        "class_name",
        "image_path",
        "mask_path",
        "image_sha256",
        "mask_sha256",
        "pixel_sha256",
        "group",
        "source",
        "spacing",
        "split",
        "convention",
        "convention_by",
    ]
    sizes = rows["split"].value_counts()
    counts = f"{sizes['train']} train, {sizes['val']} val, {sizes['test']} test"
    assert line == f"split: {counts} in 100 groups"


def test_the_summary_says_how_good_the_split_is(tmp_path: Path, params: Params) -> None:
    singles: list[dict[str, str]] = [{"class_name": "COVID"} for _ in range(94)]
    linked = [
        {"patient": "1", "image_id": "COVID/a", "class_name": "COVID"},
        {"patient": "1", "image_id": "Normal/b"},
        {"pixel_sha256": digest("c"), "image_id": "Normal/c"},
        {"pixel_sha256": digest("c"), "image_id": "Normal/d", "perceptual_hash": look("d")},
        {"patient": "2", "image_id": "Normal/e", "perceptual_hash": look("d", 9)},
        {"patient": "3", "image_id": "Normal/f", "perceptual_hash": look("d", 4)},
    ]
    normal: list[dict[str, str]] = [{} for _ in range(100)]
    write_manifest(tmp_path, make_manifest([*singles, *linked, *normal]))

    run(params, tmp_path)

    found = read_json(tmp_path / "artifacts/split/split.json")
    assert found["groups"] == 196
    assert found["merges"] == {
        "origin": 1,
        "source": 0,
        "study": 0,
        "pixels": 1,
        "near_duplicates": 2,
    }
    assert found["largest_group"] == 4
    assert found["group_sizes"] == [
        {"radiographs": 1, "groups": 194},
        {"radiographs": 2, "groups": 1},
        {"radiographs": 4, "groups": 1},
    ]
    assert found["groups_of_several_classes"] == [
        {"group": "COVID/a", "radiographs": ["COVID/a", "Normal/b"]},
    ]
    assert found["groups_of_several_patients"] == [
        {"group": "Normal/c", "radiographs": ["Normal/e", "Normal/f"]},
    ]
    covid = found["classes"]["COVID"]
    assert covid["train"] + covid["val"] + covid["test"] == 95
    assert covid["test_share"] == pytest.approx(covid["test"] / 95, abs=1e-4)
    assert covid["test_deviation"] == pytest.approx(covid["test_share"] - 0.15, abs=2e-4)
    # 196 radiographs with a position each, 4 in a group of three positions.
    expected = (196 * 0.15 + 4 * (1 - 0.85**3)) / 200
    assert found["test_expected"] == pytest.approx(expected, abs=1e-4)


def test_a_class_of_two_radiographs_is_refused_and_nothing_is_written(
    tmp_path: Path,
    params: Params,
) -> None:
    write_manifest(tmp_path, make_manifest([{"class_name": "COVID"}] * 2))

    with pytest.raises(StageError, match="class COVID has 2 radiographs and none in"):
        run(params, tmp_path)

    assert not (tmp_path / "artifacts/split").exists()


def drawn(**counts: int) -> pd.DataFrame:
    """A manifest of so many pairs of each convention, which a person says."""
    names = [name for name, count in counts.items() for _ in range(count)]
    return make_manifest({"convention": name, "convention_by": "person"} for name in names)


def test_the_split_does_not_depend_on_conventions_and_passes_them_on(
    tmp_path: Path, params: Params
) -> None:
    manifest = drawn(standard=100, wide=100)
    write_manifest(tmp_path, manifest)

    run(params, tmp_path)

    rows = pd.read_csv(tmp_path / "artifacts/split/split.csv")
    alike, _ = assign_splits(manifest.assign(convention="standard"), params.split)
    assert rows["split"].tolist() == alike["split"].tolist()
    assert rows["convention"].tolist() == ["standard"] * 100 + ["wide"] * 100
    assert set(rows["convention_by"]) == {"person"}
    counts = read_json(tmp_path / "artifacts/split/split.json")["conventions"]
    assert list(counts) == ["standard", "wide"]
    assert (
        counts["wide"]["train"]
        == ((rows["convention"] == "wide") & (rows["split"] == "train")).sum()
    )


def test_one_convention_alone_is_not_counted(tmp_path: Path, params: Params) -> None:
    write_manifest(tmp_path, drawn(wide=200))

    run(params, tmp_path)

    assert read_json(tmp_path / "artifacts/split/split.json")["conventions"] == {}


def test_a_convention_that_misses_a_split_is_refused_with_the_remedy(
    tmp_path: Path, params: Params
) -> None:
    write_manifest(tmp_path, drawn(standard=100, wide=2))

    with pytest.raises(StageError) as refusal:
        run(params, tmp_path)

    said = str(refusal.value)
    assert said.startswith("split: convention wide has 2 radiographs and none in ")
    assert "record another convention of its pairs with `lungseg data convention`" in said
    assert not (tmp_path / "artifacts/split").exists()


def test_a_leak_in_the_written_table_is_refused_and_nothing_is_written(
    tmp_path: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_manifest(tmp_path, make_manifest([{"patient": str(n // 2)} for n in range(200)]))

    def careless(manifest: pd.DataFrame, params: SplitParams) -> Any:
        rows, merges = assign_splits(manifest, params)
        return rows.assign(split=["train", "val", "test", "train"] * 50), merges

    monkeypatch.setattr(split, "assign_splits", careless)

    with pytest.raises(StageError, match="found 100 patients or sources in more than one split"):
        run(params, tmp_path)

    assert not (tmp_path / "artifacts/split").exists()


def real_manifest(dataset: Path) -> pd.DataFrame:
    """What the stage validate finds out about identity in a dataset's folder."""
    sheets: dict[str, dict[str, dict[str, Any]]] = {}
    rows = []
    for pair in list_dataset(dataset).pairs:
        if pair.class_name not in sheets:
            sheet = read_sheet(dataset / f"{pair.class_name}.metadata.xlsx")
            sheets[pair.class_name] = {name.lower(): row for name, row in sheet.rows.items()}
        row = sheets[pair.class_name][pair.name.lower()]
        image = read_radiograph(dataset / pair.image)
        rows.append(
            {
                "image_id": pair.image_id,
                "class_name": pair.class_name,
                "patient": str(row.get("PATIENT") or ""),
                "source": str(row["URL"] or ""),
                "pixel_sha256": pixel_sha256(image),
                "perceptual_hash": perceptual_hash(image),
            },
        )
    return make_manifest(rows)


def test_real_patients_are_in_one_split_and_test_stays_test_after_a_delivery(
    real_data: Path,
    params: Params,
) -> None:
    first = real_manifest(real_data / "COVID-19_Radiography_Dataset")
    delivery = real_manifest(real_data / "increment_COVID")

    before, merges = assign_splits(first, params.split)
    after, later_merges = assign_splits(pd.concat([delivery, first]), params.split)

    in_test = before.loc[before["split"] == "test", "image_id"]
    later = after.set_index("image_id")["split"]
    known = after[after["patient"] != ""]
    assert len(in_test) > 50
    assert (later[in_test] == "test").all()
    assert known.groupby("patient")["split"].nunique().max() == 1
    assert sum(merges.values()) == 0  # these are different patients, a radiograph each
    assert later_merges["near_duplicates"] == 1  # one person under two numbers; the picture tells
