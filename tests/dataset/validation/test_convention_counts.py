from __future__ import annotations

from pipeline.dataset.validation.convention_counts import (
    ConventionCount,
    count_conventions,
    tabulate_conventions,
    total_conventions,
)
from pipeline.table_files import rows_of
from tests.manifests import make_manifest


def test_conventions_are_counted_where_there_are_several() -> None:
    manifest = make_manifest(
        {"class_name": name, "convention": drawn, "convention_by": by, "lung_area": area}
        for name, drawn, by, area in [
            ("Normal", "standard", "", 0.2),
            ("COVID", "wide", "import", 0.4),
            ("COVID", "wide", "person", 0.3),
            ("COVID", "standard", "sheet", 0.1),
        ]
    )

    assert count_conventions(manifest) == {"standard": 2, "wide": 2}
    assert total_conventions(manifest)["pairs"].tolist() == [2, 2]
    assert rows_of(tabulate_conventions(manifest), ConventionCount) == [
        ConventionCount("COVID", "standard", 1, 0.1, "sheet 1"),
        ConventionCount("COVID", "wide", 2, 0.35, "import 1, person 1"),
        ConventionCount("Normal", "standard", 1, 0.2, "nobody 1"),
    ]


def test_one_convention_is_not_counted_whatever_it_is_called() -> None:
    manifest = make_manifest({"convention": "wide"} for _ in range(3))

    assert count_conventions(manifest) == {}
    assert total_conventions(manifest).empty
    assert tabulate_conventions(manifest).empty
