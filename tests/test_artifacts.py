from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from pipeline.artifacts import Artifact
from pipeline.errors import StageError
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile


class Weather(Artifact):
    """A file for these tests."""

    made_by: ClassVar[str] = "the stage look"

    sky: str
    degrees: dict[str, float]


TABLE = TableFile({"name": TEXT, "cases": COUNT, "dice": NUMBER}, "the stage look")


def test_an_artifact_reads_as_it_was_written(tmp_path: Path) -> None:
    weather = Weather(sky="blue", degrees={"noon": 20.5})

    weather.write(tmp_path / "weather.json")

    assert Weather.read(tmp_path / "weather.json") == weather


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"sky": "blue"}', "degrees: Field required"),
        ('{"sky": "blue", "degrees": {"noon": "20"}}', r"degrees\.noon: .*valid number"),
        ('{"sky": 1, "degrees": {}}', "sky: .*valid string"),
        ('{"sky": "blue", "degrees": {}, "wind": 1}', "wind: Extra inputs"),
        ("[]", "object"),
        ("{", "Invalid JSON"),
    ],
)
def test_what_is_no_such_artifact_is_refused_in_one_line(
    tmp_path: Path, content: str, found: str
) -> None:
    (tmp_path / "weather.json").write_text(content)

    expected = rf"weather\.json: cannot be read \(.*{found}.*run the stage look again"
    with pytest.raises(StageError, match=expected) as refusal:
        Weather.read(tmp_path / "weather.json")

    assert "\n" not in str(refusal.value)


def test_a_missing_artifact_names_what_writes_it(tmp_path: Path) -> None:
    for reader, name in ((Weather, "weather.json"), (TABLE, "a.csv"), (TABLE, "a.parquet")):
        with pytest.raises(StageError, match=r"no such file, .*; run the stage look first"):
            reader.read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_reads_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    rows = pd.DataFrame({"dice": [0.5, 1], "cases": [3, 4], "name": ["NA", "007"], "more": [1, 2]})

    TABLE.write(tmp_path / f"table{suffix}", rows)
    found = TABLE.read(tmp_path / f"table{suffix}")

    assert found.to_dict("list") == {"name": ["NA", "007"], "cases": [3, 4], "dice": [0.5, 1.0]}
    assert {name: str(kind) for name, kind in found.dtypes.items()} == dict(TABLE.columns)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("name,cases\na,1\n", "columns differ in dice"),
        ("name,cases,dice,wind\na,1,0.5,1\n", "columns differ in wind"),
        ("cases,name,dice\n1,a,0.5\n", "columns differ in cases"),
        ("name,cases,dice\na,many,0.5\n", "many"),
        ("name,cases,dice\na,,0.5\n", "cannot be read"),
        ("", "No columns"),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(
    tmp_path: Path, content: str, found: str
) -> None:
    (tmp_path / "table.csv").write_text(content)

    expected = rf"table\.csv: cannot be read .*{found}|{found} .*; run the stage look again"
    with pytest.raises(StageError, match=expected):
        TABLE.read(tmp_path / "table.csv")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"PAR1 but no more")

    with pytest.raises(StageError, match=r"table\.parquet: cannot be read .*the stage look again"):
        TABLE.read(tmp_path / "table.parquet")


def test_a_table_without_a_column_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="dice"):
        TABLE.write(tmp_path / "table.csv", pd.DataFrame({"name": ["a"], "cases": [1]}))

    assert list(tmp_path.iterdir()) == []
