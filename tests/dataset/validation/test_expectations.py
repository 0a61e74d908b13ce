from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.layout import Quarantined
from pipeline.dataset.manifest import manifest_table, quarantine_table
from pipeline.dataset.metadata.origins import Origins
from pipeline.dataset.validation.drift import SHIFT_COLUMNS
from pipeline.dataset.validation.expectations import (
    ValidationResult,
    check_expectations,
    quarantined_share,
    tabulate_classes,
)
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.errors import CrashedError
from pipeline.params import Params
from tests.browser import open_page
from tests.manifests import manifest_row


def manifest(**counts: int) -> pd.DataFrame:
    ids = [f"{name}/{number}" for name, count in counts.items() for number in range(count)]
    rows = [
        manifest_row(
            image_id=image_id,
            class_name=image_id.split("/")[0],
            pixel_sha256=image_id,
            lung_area=0.25 + 0.1 * np.sin(number),
        )
        for number, image_id in enumerate(ids)
    ]
    return manifest_table(rows)


def quarantine(*paths: str) -> pd.DataFrame:
    ids = [f"{path.split('/')[0]}/{Path(path).stem}" if "/" in path else "" for path in paths]
    return quarantine_table(
        Quarantined(image_id, path, "truncated", "ends early", "fetch it again")
        for image_id, path in zip(ids, paths, strict=True)
    )


def shifts(shift: float) -> pd.DataFrame:
    subject = "COVID: lung area 0.380 against 0.280 in the other classes"
    row = [subject, "COVID", "", "lung_area", "other classes", 0.38, 0.28, shift, "to do"]
    return pd.DataFrame([row], columns=list(SHIFT_COLUMNS))


def origins() -> Origins:
    """Of a sheet that is refused and another one with rows of no radiograph."""
    found = Origins()
    found.note("refused", 1, "COVID.metadata.xlsx: not readable as .xlsx; export it again")
    found.note("rows_without_file", 2, "Normal.metadata.xlsx: rows that name no radiograph: 2")
    found.note("refused_convention", 1, "A.conventions.csv: names A-1 twice; remove one")
    found.note("unused_columns", 0, "")
    return found


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judged") / "data_docs"


@pytest.fixture(scope="module")
def result(params: Params, docs: Path) -> ValidationResult:
    """Of a dataset in which nothing is as expected."""
    table = manifest(Normal=100, COVID=5)
    table.loc[1, ["image_id", "pixel_sha256"]] = table.loc[0, ["image_id", "pixel_sha256"]]
    table.loc[7, "lung_area"] = 0.01
    table.loc[100:, "flags"] = "one_lung"
    table.loc[:2, ["convention", "convention_by"]] = ["<wide>", "person"]
    bad = quarantine(*(f"COVID/images/{number}.png" for number in range(20)))
    tables = DatasetTables(table, bad, shifts(3.0), origins())
    return check_expectations(tables, params.validate_, docs)


@pytest.mark.parametrize(
    "sentence",
    [
        "the same image id twice: Normal/0, Normal/0",
        "fewer than validate.min_pairs_per_class=10 pairs in a class: COVID (5)",
        "more than validate.max_quarantined=0.05 unusable, found 0.16: COVID/images/0.png "
        "(truncated: ends early), COVID/images/1.png",
        "COVID.metadata.xlsx: not readable as .xlsx; export it again",
        "A.conventions.csv: names A-1 twice; remove one",
        "fewer than validate.min_pairs_per_class=10 pairs in an annotation convention; bring more, "
        "or record another one with `lungseg data convention`: <wide> (3)",
    ],
)
def test_what_stops_the_run_is_one_sentence_naming_what_offends(
    result: ValidationResult, sentence: str
) -> None:
    assert len([one for one in result.critical if one.startswith(sentence)]) == 1
    assert len(result.critical) == 6


@pytest.mark.parametrize(
    "sentence",
    [
        "the same picture more than once: Normal/0, Normal/0",
        "lungs outside 5% to 60% of the mask: Normal/7 (0.01)",
        "the largest class has more than validate.max_class_ratio=10 times the pairs of a class: "
        "COVID (0.05)",
        "more than validate.max_flagged=0.1 of a class's pairs are flagged: COVID (1)",
        "COVID: lung area 0.380 against 0.280 in the other classes; lung area shifted beyond "
        "validate.max_area_shift=1.25 (another annotation convention?); to do",
        "Normal.metadata.xlsx: rows that name no radiograph: 2",
    ],
)
def test_what_is_warned_of_is_one_sentence_naming_what_is_odd(
    result: ValidationResult, sentence: str
) -> None:
    assert len([one for one in result.warnings if one.startswith(sentence)]) == 1
    assert len(result.warnings) == 6


def test_data_docs_need_no_network_and_name_the_worst_first(
    result: ValidationResult, docs: Path
) -> None:
    pages = list(docs.rglob("*.html"))
    index = (docs / "index.html").read_text()

    assert len(pages) > 5
    for page in pages:
        assert re.findall(r'<(?:script|link|img)[^>]*="https?://[^>]*>', page.read_text()) == []
    positions = [index.index(text) for text in (result.critical[0], result.warnings[0], ">✓ met")]
    assert positions == sorted(positions)
    assert "6 critical ones not met, 6 warnings" in index
    assert "<td>Normal</td><td>&lt;wide&gt;</td><td>3</td>" in index


@pytest.mark.slow
def test_data_docs_and_what_they_link_to_open_in_a_browser(
    browser: Any, result: ValidationResult, docs: Path
) -> None:
    linked = set(re.findall(r'href="(validations/[^"]+)"', (docs / "index.html").read_text()))

    assert len(linked) == 7
    for name in ["index.html", *sorted(linked)]:
        open_page(browser, docs / name, site=docs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.drop(columns="lung_area"), "lung_area is absent, expected float64"),
        (lambda table: table.assign(width="wide"), "width is str, expected int64"),
        (lambda table: table.assign(more=1), "more is int64, expected absent"),
    ],
)
def test_a_manifest_of_other_columns_stops_the_run_before_anything_else_is_asked(
    params: Params, tmp_path: Path, change: object, sentence: str
) -> None:
    assert callable(change)
    table = change(manifest(COVID=3))

    tables = DatasetTables(table, quarantine(), shifts(0))
    result = check_expectations(tables, params.validate_, tmp_path / "docs")

    means = "the manifest's columns or their types are not those that the stages read"
    assert result == ValidationResult([f"{means}: {sentence}"], [])


def test_an_expectation_that_cannot_be_evaluated_says_nothing_of_the_dataset(
    params: Params, tmp_path: Path
) -> None:
    nameless = shifts(0).drop(columns="shift")
    tables = DatasetTables(manifest(COVID=20), quarantine(), nameless)

    with pytest.raises(CrashedError, match=r"of shifts could not be evaluated .* says nothing"):
        check_expectations(tables, params.validate_, tmp_path / "docs")


def test_classes_are_counted_with_what_was_set_aside_and_flagged() -> None:
    table = manifest(Normal=4, COVID=2)
    table.loc[0, "flags"] = "rotated one_lung"

    counted = tabulate_classes(
        table, quarantine("COVID/images/9.png", "Lost/masks/1.png", "A.xlsx")
    )

    assert counted.to_dict("records") == [
        {"class_name": "COVID", "pairs": 2, "quarantined": 1, "flagged": 0.0, "of_largest": 0.5},
        {"class_name": "Lost", "pairs": 0, "quarantined": 1, "flagged": 0.0, "of_largest": 0.0},
        {"class_name": "Normal", "pairs": 4, "quarantined": 0, "flagged": 0.25, "of_largest": 1.0},
    ]


def test_the_share_set_aside_is_of_all_that_was_found() -> None:
    assert quarantined_share(manifest(COVID=3), quarantine("COVID/images/9.png")) == 0.25
