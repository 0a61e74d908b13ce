from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.per_image import per_image_table
from pipeline.report.study import gather_facts
from tests.evaluation.images import image_of
from tests.report.drawn import GOOD


@dataclass(frozen=True)
class Inputs:
    split: pd.DataFrame
    per_image: pd.DataFrame


def inputs(*rows: tuple[str, str, str, str]) -> Any:
    """Class, split, group and source of each radiograph."""
    split = pd.DataFrame(rows, columns=["class_name", "split", "group", "source"])
    split = split.assign(convention="standard", convention_by="")
    split = split.assign(pixel_sha256=[f"{n}" for n in range(len(split))], spacing=float("nan"))
    return Inputs(split, per_image_table([image_of("N/1", GOOD)]))


def test_a_class_without_test_radiographs_is_named() -> None:
    facts = gather_facts(inputs(("N", "test", "a", ""), ("C", "train", "b", "")))

    assert facts.untested == ["C"]
    assert [(one.name, dict(one.radiographs)) for one in facts.sizes] == [
        ("C", {"train": 1, "val": 0, "test": 0}),
        ("N", {"train": 0, "val": 0, "test": 1}),
        ("All", {"train": 1, "val": 0, "test": 1}),
    ]


def test_what_is_in_two_splits_is_counted() -> None:
    apart = gather_facts(inputs(("N", "test", "a", ""), ("N", "train", "b", "")))
    mixed = gather_facts(inputs(("N", "test", "a", ""), ("N", "train", "a", "")))

    assert (apart.overlap.groups, apart.overlap.pictures) == (0, 0)
    assert (mixed.overlap.groups, mixed.overlap.pictures) == (1, 0)


def test_sources_of_several_radiographs_are_listed() -> None:
    rows = [("N", "test", f"{n}", source) for n, source in enumerate(["x", "x", "y", ""])]

    sources = gather_facts(inputs(*rows)).sources

    assert (sources.known, sources.different, sources.largest) == (3, 2, {"x": 2})


def test_conventions_are_counted_where_somebody_names_them() -> None:
    found = inputs(*(("N", "test", f"{n}", "") for n in range(3)))
    assert gather_facts(found).conventions == {}

    named = found.split.assign(convention=["b", "standard", "b"], convention_by=["sheet", "", ""])

    facts = gather_facts(Inputs(named, found.per_image))
    assert list(facts.conventions.items()) == [("standard", 1), ("b", 2)]
