from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipeline.dataset.splits import table  # by module: pytest would collect test_split_sha256
from pipeline.errors import StageError

SPLIT = pd.DataFrame(
    {
        "image_id": ["NA/1", "NA/2", "NA/3"],
        "class_name": ["NA", "NA", "NA"],
        "image_path": ["NA/images/1.png", "NA/images/2.png", "NA/images/3.png"],
        "mask_path": ["NA/masks/1.png", "NA/masks/2.png", "NA/masks/3.png"],
        "image_sha256": ["01", "02", "03"],
        "mask_sha256": ["1e1", "1e2", "1e3"],
        "pixel_sha256": ["aa", "bb", "cc"],
        "group": ["NA/1", "NA/2", "NA/2"],
        "source": ["NA", "", ""],
        "spacing": [0.2, 1.4, 1.4],
        "split": ["train", "test", "test"],
        "convention": ["standard", "standard", "standard"],
        "convention_by": ["", "", ""],
    }
)


def test_a_split_is_read_as_text_even_for_a_class_named_na(tmp_path: Path) -> None:
    SPLIT.to_csv(tmp_path / "split.csv", index=False)

    pd.testing.assert_frame_equal(
        table.SPLIT.read(tmp_path / "split.csv").astype(object), SPLIT.astype(object)
    )


def test_a_missing_split_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split\.csv: no such file.*run the stage split"):
        table.SPLIT.read(tmp_path / "split.csv")


def test_the_rows_of_a_split_come_sorted_by_image_id() -> None:
    rows = table.split_rows(table.select_split(SPLIT[::-1], "test"))

    assert [row.image_id for row in rows] == ["NA/2", "NA/3"]
    assert rows[0].mask_sha256 == "1e2"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("train", "lower split.val and split.test"),
        ("val", "raise split.val"),
        ("test", "raise split.test"),
    ],
)
def test_a_split_without_rows_is_refused(name: str, remedy: str) -> None:
    others = SPLIT[SPLIT["split"] != name]

    found = f"found no {name} rows among {len(others)}, expected at least one; {remedy} or add"
    with pytest.raises(StageError, match=found):
        table.select_split(others, name)


def test_the_hash_of_the_test_split_ignores_order_and_other_columns() -> None:
    expected = table.test_split_sha256(SPLIT[1:])

    assert table.test_split_sha256(SPLIT[:0:-1]) == expected
    assert table.test_split_sha256(SPLIT[1:].assign(dice=0.5)) == expected


@pytest.mark.parametrize("column", ["image_id", "pixel_sha256"])
def test_the_hash_of_the_test_split_changes_with_a_radiograph(column: str) -> None:
    other = SPLIT.copy()
    other.loc[2, column] = "zz"

    assert table.test_split_sha256(other[1:]) != table.test_split_sha256(SPLIT[1:])


def test_the_hash_of_the_data_covers_all_rows() -> None:
    assert table.data_sha256(SPLIT) != table.data_sha256(SPLIT[1:])
