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
        "pixel_sha256": ["aa", "bb", "cc"],
        "split": ["train", "test", "test"],
    }
)


def test_a_split_is_read_as_text_even_for_a_class_named_na(tmp_path: Path) -> None:
    SPLIT.to_csv(tmp_path / "split.csv", index=False)

    pd.testing.assert_frame_equal(
        table.read_split(tmp_path / "split.csv").astype(object), SPLIT.astype(object)
    )


def test_a_missing_split_names_the_stage_to_run(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split\.csv: no such file.*run the stage split"):
        table.read_split(tmp_path / "split.csv")


def test_the_test_rows_come_sorted_by_image_id() -> None:
    assert table.select_test(SPLIT[::-1])["image_id"].tolist() == ["NA/2", "NA/3"]


def test_a_split_without_test_rows_is_refused() -> None:
    with pytest.raises(StageError, match="found no test rows among 1"):
        table.select_test(SPLIT[:1])


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
