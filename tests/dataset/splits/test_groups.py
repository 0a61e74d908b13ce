from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.splits.groups import find_groups, find_origins, person_key
from pipeline.errors import StageError
from pipeline.params import Params, SplitParams
from tests.manifests import look, make_manifest

REASONS = ("origin", "source", "study", "pixels", "near_duplicates")
KAGGLE = "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"
FIGSHARE = "https://figshare.com/articles/COVID-19_Chest_X-Ray_Image_Repository/12580328"
BIMCV = "https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#1590858128006-9e640421-6711"


def sharing(**changes: object) -> SplitParams:
    given = {
        "val": 0.15,
        "test": 0.15,
        "near_duplicate_distance": 20,
        "max_source_pairs": 3,
        "max_patient_pairs": 9,
        "collections": ["https://collection.org", "https://archive.org/sets/*"],
    }
    return SplitParams.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("patient", "source", "origin"),
    [
        ("46", "https://a.org/case/1", "patient 46"),
        (" 46 ", "", "patient 46"),
        ("", "https://a.org/case/1", "https://a.org/case/1"),
        ("", "https://collection.org", ""),
        ("", "https://collection.org/case/1", "https://collection.org/case/1"),
        ("", "https://archive.org/sets/12", ""),
        ("46", "https://collection.org", "patient 46"),
        ("", "", ""),
    ],
)
def test_the_origin_is_the_patient_else_a_source_that_is_no_collection(
    patient: str,
    source: str,
    origin: str,
) -> None:
    manifest = make_manifest([{"patient": patient, "source": source}])

    assert find_origins(manifest, sharing()).tolist() == [origin]


def test_the_collections_of_the_database_are_known(params: Params) -> None:
    manifest = make_manifest(
        [{"source": url} for url in (KAGGLE, BIMCV, FIGSHARE) for _ in range(50)]
    )

    assert set(find_origins(manifest, params.split)) == {""}


def test_a_source_of_many_radiographs_stops_the_run_until_it_is_named() -> None:
    manifest = make_manifest([{"source": "https://new.org"} for _ in range(4)])

    with pytest.raises(StageError) as raised:
        find_origins(manifest, sharing())

    assert str(raised.value) == (
        "split: one source is shared https://new.org by 4 radiographs, more than "
        "split.max_source_pairs=3; add it to split.collections if it collects many patients, else "
        "raise split.max_source_pairs"
    )
    assert set(find_origins(manifest, sharing(collections=["https://new.org"]))) == {""}
    assert len(set(find_origins(manifest, sharing(max_source_pairs=4)))) == 1


def test_a_source_of_patients_and_one_without_joins_them_so_it_must_not_be_large() -> None:
    rows = [{"source": "https://new.org", "patient": str(number)} for number in range(3)]

    with pytest.raises(StageError, match=r"shared https://new\.org by 4 radiographs"):
        find_origins(make_manifest([*rows, {"source": "https://new.org"}]), sharing())


@pytest.mark.parametrize("column", ["patient", "study"])
def test_a_patient_of_many_radiographs_stops_the_run(column: str) -> None:
    manifest = make_manifest([{column: spelling} for spelling in ("P-1", "p 01", "P1") * 4])

    with pytest.raises(StageError) as raised:
        find_origins(manifest, sharing())

    assert str(raised.value) == (
        f"split: {column} p 1 has 12 radiographs, more than split.max_patient_pairs=9; raise it if "
        "that is one person, else correct the sheets: where a patient is not known write "
        "`unknown`, since an empty cell takes the patient above it"
    )
    assert len(find_origins(manifest, sharing(max_patient_pairs=12))) == 12


def test_many_such_patients_are_counted() -> None:
    manifest = make_manifest([{"patient": str(number % 5)} for number in range(50)])

    with pytest.raises(StageError, match="radiographs and 2 more, more than"):
        find_origins(manifest, sharing())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("patient P-007", "patient p 7", True),
        ("patient 0", "patient 00", True),
        ("patient 1-2", "patient 12", False),
        ("patient 7", "study 7", False),
        ("patient **", "patient *", False),
        ("patient \uff11", "patient 1", True),
        ("https://a.org/7", "https://a.org/07", False),
    ],
)
def test_a_patient_is_one_however_it_is_spelt(one: str, other: str, same: bool) -> None:
    assert (person_key(one) == person_key(other)) == same


def test_a_source_of_known_patients_may_be_shared_by_many() -> None:
    rows = [{"source": "https://new.org", "patient": str(number)} for number in range(9)]

    assert find_origins(make_manifest(rows), sharing())[8] == "patient 8"


@pytest.mark.parametrize(
    ("rows", "groups", "merges"),
    [
        pytest.param(
            [{"patient": "1"}, {"patient": "2"}, {"patient": "1", "class_name": "COVID"}],
            [{0, 2}, {1}],
            (1, 0, 0, 0, 0),
            id="one patient in two classes",
        ),
        pytest.param(
            [{"patient": "P 1"}, {"patient": "p-01"}, {"patient": "P 2"}],
            [{0, 1}, {2}],
            (1, 0, 0, 0, 0),
            id="one patient in two spellings",
        ),
        pytest.param(
            [
                {"source": "https://a.org/1", "patient": "1"},
                {"source": "https://a.org/1"},
                {"source": "https://a.org/2", "patient": "2"},
                {"source": "https://a.org/1", "study": "7"},
            ],
            [{0, 1, 3}, {2}],
            (0, 2, 0, 0, 0),
            id="a source of which one radiograph has nothing else",
        ),
        pytest.param(
            [
                {"source": "https://a.org/1", "patient": "1"},
                {"source": "https://a.org/1", "study": "7"},
            ],
            [{0}, {1}],
            (0, 0, 0, 0, 0),
            id="a source of which each has a patient or study",
        ),
        pytest.param(
            [
                {"source": "https://collection.org", "patient": "1"},
                {"source": "https://collection.org"},
            ],
            [{0}, {1}],
            (0, 0, 0, 0, 0),
            id="a collection says nothing",
        ),
        pytest.param(
            [{"study": "1"}, {"study": "01"}, {"study": "2"}, {"study": ""}],
            [{0, 1}, {2}, {3}],
            (1, 0, 0, 0, 0),
            id="a study without a patient",
        ),
        pytest.param(
            [{"study": "1", "patient": "a"}, {"study": "1"}, {"study": "2", "patient": "a"}],
            [{0, 1, 2}],
            (1, 0, 1, 0, 0),
            id="a study of which one radiograph has a patient",
        ),
        pytest.param(
            [{"study": "1", "patient": "a"}, {"study": "1", "patient": "b"}],
            [{0}, {1}],
            (0, 0, 0, 0, 0),
            id="the first study of two patients",
        ),
        pytest.param(
            [{"pixel_sha256": "a"}, {"pixel_sha256": "b"}, {"pixel_sha256": "a"}],
            [{0, 2}, {1}],
            (0, 0, 0, 1, 0),
            id="identical pictures",
        ),
        pytest.param(
            [{"perceptual_hash": look("a", flips)} for flips in (0, 20, 40, 61)],
            [{0, 1, 2}, {3}],
            (0, 0, 0, 0, 2),
            id="a chain of near-duplicates",
        ),
        pytest.param(
            [{"perceptual_hash": look("a")} for _ in range(4)],
            [{0, 1, 2, 3}],
            (0, 0, 0, 0, 3),
            id="equal perceptual hashes",
        ),
        pytest.param(
            [
                {"patient": "1"},
                {"patient": "1", "pixel_sha256": "p"},
                {"pixel_sha256": "p", "perceptual_hash": look("a")},
                {"patient": "2", "perceptual_hash": look("a", 9)},
                {"patient": "2"},
                {"patient": "3"},
            ],
            [{0, 1, 2, 3, 4}, {5}],
            (2, 0, 0, 1, 1),
            id="one reason leads to the next",
        ),
        pytest.param(
            [{"patient": "1", "pixel_sha256": "a", "perceptual_hash": look("a")}] * 3,
            [{0, 1, 2}],
            (2, 0, 0, 0, 0),
            id="a merge counts for its first reason",
        ),
    ],
)
def test_a_group_is_whoever_is_connected(
    rows: list[dict[str, str]],
    groups: list[set[int]],
    merges: tuple[int, ...],
) -> None:
    rows = [{**row, "image_id": f"X/{number}"} for number, row in enumerate(rows)]
    manifest = make_manifest(rows)

    found = find_groups(manifest, find_origins(manifest, sharing()), 20)

    members = [set(names.index) for _, names in found.names.groupby(found.names)]
    assert sorted(members, key=min) == groups
    assert tuple(found.merges[why] for why in REASONS) == merges


def test_a_group_is_named_after_its_first_radiograph_in_any_order_of_rows() -> None:
    manifest = make_manifest([{"patient": "1"} for _ in range(5)]).iloc[np.array([3, 0, 4, 2, 1])]

    found = find_groups(manifest, find_origins(manifest, sharing()), 20)

    assert set(found.names) == {"Normal/Normal-0"}
    pd.testing.assert_index_equal(found.names.index, manifest.index)
