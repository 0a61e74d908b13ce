from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from pipeline.artifacts import Artifact
from pipeline.errors import StageError
from pipeline.table_files import COUNT, NUMBER, TEXT, TableFile, columns_of, rows_of, table_of


class Weather(Artifact):
    """A file for these tests."""

    made_by: ClassVar[str] = "the stage look"

    sky: str
    degrees: dict[str, float]


class Forecast(Artifact):
    """A file that no stage can write again."""

    made_by: ClassVar[str] = "the oracle"
    remedy: ClassVar[str] = "ask it again"

    sky: str


@dataclass(frozen=True)
class Case:
    """A row for these tests."""

    name: str
    cases: int
    dice: float


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


def test_a_damaged_artifact_names_the_remedy_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "forecast.json").write_text("{}")

    with pytest.raises(StageError, match=r"what the oracle writes; ask it again$"):
        Forecast.read(tmp_path / "forecast.json")


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


def test_a_number_of_a_csv_file_is_read_to_its_last_digit(tmp_path: Path) -> None:
    rows = pd.DataFrame({"name": "a", "cases": 1, "dice": [0.9658143788, 1e-05, 0.1 + 0.2]})

    TABLE.write(tmp_path / "table.csv", rows)

    assert TABLE.read(tmp_path / "table.csv")["dice"].tolist() == rows["dice"].tolist()


def test_a_tables_columns_are_the_fields_of_its_rows() -> None:
    assert columns_of(Case) == dict(TABLE.columns)


@pytest.mark.parametrize("rows", [[], [Case("a", 1, 0.5), Case("b", 2, 1.0)]])
def test_rows_survive_a_table(rows: list[Case]) -> None:
    table = table_of(rows, TABLE.columns)

    assert {name: str(kind) for name, kind in table.dtypes.items()} == dict(TABLE.columns)
    assert rows_of(table.assign(more=1), Case) == rows
