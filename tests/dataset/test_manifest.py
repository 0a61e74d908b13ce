from __future__ import annotations

import pandas as pd

from pipeline.dataset.manifest import (
    MANIFEST,
    label_conflicts,
    manifest_table,
    quarantine_table,
)
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


def test_a_radiograph_drawn_to_two_conventions_is_no_conflict() -> None:
    table = pairs(("A/1", "x", "p"), ("B/1", "x", "q"), ("B/2", "x", "r"))
    table["convention"] = ["standard", "heart", "heart"]

    assert [one.image_id for one in label_conflicts(table)] == ["B/1", "B/2"]
