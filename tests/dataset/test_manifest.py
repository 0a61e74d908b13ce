from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from pipeline.dataset.manifest import (
    MANIFEST,
    Origin,
    label_conflicts,
    manifest_table,
    origin_key,
    quarantine_table,
    read_origins,
)
from tests.dataset.delivery.deliveries import write_sheet
from tests.manifests import manifest_row


def pairs(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """By image_id, pixels of the radiograph and of the mask."""
    return manifest_table(
        manifest_row(
            image_id=image_id,
            mask_path=f"{image_id}.png",
            pixel_sha256=image,
            mask_pixel_sha256=mask,
        )
        for image_id, image, mask in rows
    )


def test_tables_without_rows_have_their_columns_and_types() -> None:
    assert {str(name): str(kind) for name, kind in manifest_table([]).dtypes.items()} == dict(
        MANIFEST.columns
    )
    columns = ["image_id", "path", "reason", "found", "remedy"]
    assert list(quarantine_table([]).columns) == columns


def test_a_radiograph_with_two_masks_conflicts_wherever_it_lies() -> None:
    table = pairs(("A/1", "x", "p"), ("A/2", "y", "p"), ("B/1", "x", "q"), ("B/2", "x", "p"))

    conflicts = list(label_conflicts(table))

    assert [one.image_id for one in conflicts] == ["A/1", "B/1", "B/2"]
    assert [one.path for one in conflicts] == ["A/1.png", "B/1.png", "B/2.png"]
    assert conflicts[1].found == "the same radiograph as A/1, B/2, whose mask differs"


def test_a_radiograph_twice_with_one_mask_is_no_conflict() -> None:
    assert list(label_conflicts(pairs(("A/1", "x", "p"), ("B/1", "x", "p")))) == []


@pytest.mark.parametrize("name", ["NORMAL-1", "Normal-1", "normal-1.png", "NORMAL-1.PNG", " N "])
def test_a_name_in_a_sheet_finds_its_file_in_any_case(name: str) -> None:
    file = "N" if name == " N " else "Normal-1"

    assert origin_key("Normal", name) == origin_key("Normal", file)


@pytest.mark.parametrize(
    ("column", "value", "patient"),
    [
        ("PATIENT", 46, "46"),
        ("patient id", "P-7 ", "P-7"),
        ("PATIENT ID", None, ""),
        ("AGE", 46, ""),
    ],
)
def test_source_and_patient_come_from_the_sheet(
    tmp_path: Path, column: str, value: object, patient: str
) -> None:
    write_sheet(
        tmp_path / "COVID.metadata.xlsx",
        ("FILE NAME", "URL", column),
        ("COVID-1", "https://example.org", value),
    )

    origins, refused = read_origins(tmp_path)

    assert origins == {origin_key("COVID", "COVID-1"): Origin("https://example.org", patient)}
    assert refused == []


@pytest.mark.parametrize(
    ("value", "spacing"),
    [(0.143, 0.143), ("1.5", 1.5), (0, None), (-1, None), ("inf", None), ("0.1 mm", None)],
)
def test_a_spacing_is_a_positive_number_or_unknown(
    tmp_path: Path, value: object, spacing: float | None
) -> None:
    write_sheet(tmp_path / "N.metadata.xlsx", ("FILE NAME", "Pixel spacing"), ("N-1", value))

    (origin,) = read_origins(tmp_path)[0].values()

    assert origin.spacing == spacing or (spacing is None and math.isnan(origin.spacing))


def test_a_damaged_sheet_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "COVID.metadata.xlsx").write_bytes(b"PK")
    write_sheet(tmp_path / "Normal.metadata.xlsx", ("FILE NAME",), ("Normal-1",))

    origins, (row,) = read_origins(tmp_path)

    assert origins == {origin_key("Normal", "Normal-1"): Origin()}
    assert (row.path, row.reason, row.image_id) == ("COVID.metadata.xlsx", "metadata", "")
    assert row.found.startswith("not readable as .xlsx")
    assert row.remedy == "export it again"
