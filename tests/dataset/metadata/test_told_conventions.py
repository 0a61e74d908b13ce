"""Where the convention of a pair comes from, and what of it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.dataset.layout import list_dataset
from pipeline.dataset.metadata.convention_file import (
    ConventionRow,
    recorded_conventions,
    write_recorded,
)
from pipeline.dataset.metadata.origins import CONVENTION_REFUSED, Origins, read_origins
from pipeline.dataset.metadata.told_conventions import mask_files, settle_conventions
from pipeline.errors import DatasetError
from pipeline.files import sha256_file
from tests.dataset.delivery.deliveries import add_text, write_sheet
from tests.dataset.metadata.test_origins import add_class
from tests.manifests import digest


def settled(root: Path, names: dict[str, list[str]] | None = None) -> Origins:
    listing = list_dataset(root)
    origins = read_origins(root, listing, names)
    settle_conventions(root, listing, origins, mask_files(root, listing))
    return origins


def conventions(origins: Origins) -> dict[str, tuple[str, str]]:
    return {
        image_id: (one.convention, one.convention_by)
        for image_id, one in sorted(origins.by_image_id.items())
    }


def record(root: Path, **rows: str) -> None:
    """Of pairs of class A, as `A_1="wide by person"`; the mask is that of the pair."""
    recorded = {}
    for key, text in rows.items():
        name, (convention, by) = key.replace("_", "-"), text.split(" by ")
        sha256 = sha256_file(root / f"A/masks/{name}.png")
        recorded[f"A/{name}"] = ConventionRow(name, sha256, convention, by)
    write_recorded(root, recorded)


def refusal(root: Path) -> str:
    """What is said of the only file that is refused; its pairs are `standard`."""
    origins = settled(root)
    (refused,) = origins.refused
    assert refused.reason == "convention"
    assert origins.counts[CONVENTION_REFUSED] == 1
    said = f"{refused.path}: {refused.found}; {refused.remedy}"
    assert said in [one.finding for one in origins.findings if one.kind == CONVENTION_REFUSED]
    return said


def test_a_file_that_must_not_be_opened_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path / "data", "A", "A-1")
    record(tmp_path / "data", A_1="wide by person")
    own = tmp_path / "data/A.conventions.csv"
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")

    said = f"a link to {tmp_path}/elsewhere; put the file itself in its place"
    assert refusal(tmp_path / "data") == f"A.conventions.csv: {said}"
    with pytest.raises(DatasetError, match=f"^{own}: {said}$"):
        recorded_conventions(tmp_path / "data")


def test_nothing_is_said_where_nobody_says_anything(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")

    origins = settled(tmp_path)

    assert conventions(origins) == {"A/A-1": ("standard", "")}
    assert (
        origins.lines,
        origins.findings,
        origins.counts.keys() - {"unread_tables", "missing_columns"},
    ) == (
        [],
        [],
        set(),
    )


@pytest.mark.parametrize("header", ["CONVENTION", "Annotation convention", "Konvention"])
def test_a_column_of_the_sheet_says_it(tmp_path: Path, header: str) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    rows = (("FILE NAME", header), ("A-1", " wide "), ("A-2", "standard"))
    write_sheet(tmp_path / "A.metadata.xlsx", *rows)

    origins = settled(tmp_path)

    assert conventions(origins) == {"A/A-1": ("wide", "sheet"), "A/A-2": ("standard", "sheet")}
    assert origins.lines[-1] == "conventions: standard 1, wide 1 (said by: sheet 2)"


def test_the_project_may_name_the_column(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION,Reader group\nA-1,narrow,wide\n")

    origins = settled(tmp_path, {"convention": ["reader group"]})

    assert conventions(origins) == {"A/A-1": ("wide", "sheet")}


def test_two_columns_complete_each_other_and_must_not_differ(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    sheet = tmp_path / "A.metadata.csv"
    header = "FILE,CONVENTION,ANNOTATION CONVENTION\n"
    add_text(sheet, f"{header}A-1,wide,\nA-2,unknown,narrow\n")
    assert conventions(settled(tmp_path)) == {
        "A/A-1": ("wide", "sheet"),
        "A/A-2": ("narrow", "sheet"),
    }

    add_text(sheet, f"{header}A-1,wide,\nA-2,wide,narrow\n")

    (refused,) = settled(tmp_path).refused
    assert refused.found == (
        "A-2: found CONVENTION wide and ANNOTATION CONVENTION narrow, expected one convention"
    )
    assert "validate.convention_columns" in refused.remedy


def test_a_merged_cell_says_it_of_all_its_rows_and_an_empty_one_nothing(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    path = tmp_path / "A.metadata.xlsx"
    write_sheet(path, ("FILE", "CONVENTION"), ("A-1", "wide"), ("A-2", None), ("A-3", None))
    assert "of 2 of the class nothing (A-2, A-3)" in refusal(tmp_path)

    workbook = load_workbook(path)
    workbook.worksheets[0].merge_cells("B2:B4")
    workbook.save(path)

    assert {one[0] for one in conventions(settled(tmp_path)).values()} == {"wide"}


def test_what_is_recorded_counts_before_the_sheet(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION\nA-1,narrow\nA-2,narrow\nA-3,narrow\n")
    record(tmp_path, A_1="wide by import", A_2="standard by person")

    origins = settled(tmp_path)

    assert conventions(origins) == {
        "A/A-1": ("wide", "import"),
        "A/A-2": ("standard", "person"),
        "A/A-3": ("narrow", "sheet"),
    }
    assert origins.counts["unread_tables"] == 0


def test_a_row_of_a_mask_that_changed_does_not_hold_and_is_warned_of(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    record(tmp_path, A_1="wide by person", A_2="wide by person")
    add_text(tmp_path / "A/masks/A-2.png", "drawn anew")

    origins = settled(tmp_path)

    assert conventions(origins)["A/A-2"] == ("standard", "")
    (finding,) = origins.findings
    assert finding.kind == "stale_conventions"
    assert finding.finding == (
        "A.conventions.csv: recorded for masks that changed since: 1 (A-2), not used; look at "
        "them and record theirs with `lungseg data convention NAME PAIR`"
    )
    assert origins.refused == []


def test_a_row_of_no_pair_is_warned_of_and_one_of_half_a_pair_is_not(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    record(tmp_path, A_1="wide by person", A_2="wide by person", A_3="wide by person")
    for half in ("images", "masks"):
        (tmp_path / f"A/{half}/A-2.png").unlink()
    (tmp_path / "A/masks/A-3.png").unlink()

    origins = settled(tmp_path)

    assert [one.finding for one in origins.findings] == [
        "A.conventions.csv: rows that name no pair: 1 (A-2); remove them, as an import does"
    ]
    assert list(origins.by_image_id) == ["A/A-1"]


def test_a_file_that_names_no_pair_of_its_class_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    write_recorded(tmp_path, {"A/B-1": ConventionRow("B-1", digest(1), "wide", "import")})

    assert "none of its 1 rows names a pair of the class: found B-1; correct" in refusal(tmp_path)


def test_a_file_of_no_class_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    write_recorded(tmp_path, {"B/B-1": ConventionRow("B-1", digest(1), "wide", "import")})

    said = refusal(tmp_path)

    assert said == "B.conventions.csv: there is no class of this name; rename or remove the file"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "A.conventions.csv", "name\n")

    assert "A.conventions.csv: columns are name, expected lines of" in refusal(tmp_path)


@pytest.mark.parametrize("rows", ["A-1,wide\nA-2,\n", "A-1,wide\n", "A-1,wide\nA-2,n/a\n"])
def test_a_sheet_that_says_it_of_some_radiographs_only_is_refused(
    tmp_path: Path, rows: str
) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    add_text(tmp_path / "A.metadata.csv", f"FILE,CONVENTION\n{rows}")

    said = refusal(tmp_path)

    assert said == (
        "A.metadata.csv: its column of conventions says that of 1 radiographs, of 1 of the class "
        "nothing (A-2), expected one for each; complete the column, or record theirs with `lungseg "
        "data convention NAME PAIR`, an import's with --convention NAME"
    )
    record(tmp_path, A_2="narrow by person")
    assert settled(tmp_path).refused == []


def test_a_code_that_is_no_name_is_refused_as_such_and_not_as_an_empty_cell(
    tmp_path: Path,
) -> None:
    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION\nA-1,0\nA-2,1\nA-3,0\n")

    assert refusal(tmp_path) == (
        "A.metadata.csv: 2 pairs: found '0', which names no convention, expected a name such as "
        "standard; give the convention's own name"
    )


@pytest.mark.parametrize("rows", ["A-1,\nA-2,\n", "A-1,unknown\nA-2,n/a\n"])
def test_a_column_that_says_nothing_at_all_is_refused(tmp_path: Path, rows: str) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    sheet = add_text(tmp_path / "A.metadata.csv", f"FILE,CONVENTION\n{rows}")

    said = refusal(tmp_path)

    assert "says that of 0 radiographs, of 2 of the class nothing (A-1, A-2)" in said
    assert "; complete or remove it, or record theirs with" in said
    record(tmp_path, A_1="standard by import", A_2="standard by import")
    assert settled(tmp_path).refused == []
    (tmp_path / "A.conventions.csv").unlink()
    add_text(sheet, "FILE\nA-1\nA-2\n")
    assert settled(tmp_path).refused == []


def settled_without(root: Path, *set_aside: str) -> Origins:
    listing = list_dataset(root)
    origins = read_origins(root, listing)
    good = mask_files(root, listing)
    settle_conventions(
        root, listing, origins, lambda name: None if name in set_aside else good(name)
    )
    return origins


def test_nothing_is_asked_of_a_pair_that_is_set_aside(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION\nA-1,wide\n")
    record(tmp_path, A_2="wide by import")

    assert settled_without(tmp_path, "A/A-2").refused == []


def test_a_pair_that_is_set_aside_is_not_counted_with_any_convention(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    record(tmp_path, A_1="narrow by import", A_2="narrow by import")

    assert settled_without(tmp_path, "A/A-2", "A/A-3").lines == [
        "conventions: narrow 1 (said by: import 1)"
    ]
    assert settled_without(tmp_path, "A/A-1", "A/A-2").lines == []


def test_what_an_import_records_otherwise_than_the_sheet_is_noted(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1", "A-2", "A-3")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION\nA-1,narrow\nA-2,narrow\nA-3,narrow\n")
    record(tmp_path, A_1="wide by import", A_2="standard by person", A_3="narrow by import")

    (finding,) = settled(tmp_path).findings

    assert finding.kind == "overruled_conventions"
    assert finding.finding == (
        "A.conventions.csv: recorded by an import otherwise than A.metadata.csv says: 1 (A-1); if "
        "the sheet is right, record it with `lungseg data convention NAME PAIR`"
    )


def test_two_files_of_one_class_are_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    record(tmp_path, A_1="wide by person")
    shutil.copyfile(tmp_path / "A.conventions.csv", tmp_path / "A.CONVENTIONS.csv")

    said = refusal(tmp_path)

    assert said == (
        "A.conventions.csv: A.CONVENTIONS.csv is of this class too, expected one file; join them"
    )
    with pytest.raises(DatasetError, match=r"/A\.conventions\.csv: A\.CONVENTIONS\.csv is of this"):
        recorded_conventions(tmp_path)


@pytest.mark.parametrize("slip", ["Wide", "wdie", "w-ide"])
def test_a_misspelt_convention_is_refused_wherever_it_stands(tmp_path: Path, slip: str) -> None:
    add_class(tmp_path, "A", "A-1", "A-2")
    add_class(tmp_path, "B", "B-1")
    add_text(tmp_path / "B.metadata.csv", f"FILE,CONVENTION\nB-1,{slip}\n")
    record(tmp_path, A_1="wide by person", A_2="wide by person")

    said = refusal(tmp_path)

    assert said == (
        f"B.metadata.csv: 1 pairs: found {slip!r} beside 'wide', which 2 pairs have, expected one "
        "spelling; write wide, or give another convention a name that differs by more"
    )
    assert conventions(settled(tmp_path))["B/B-1"] == ("standard", "")


def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    add_text(tmp_path / "A.metadata.csv", "FILE,CONVENTION\nA-1,Behind the heart!\n")

    assert refusal(tmp_path) == (
        "A.metadata.csv: 1 pairs: found 'Behind the heart!', expected a convention's name of "
        "lower-case letters, digits, - and _, at most 40 of them; write behind-the-heart"
    )


def test_a_formula_without_a_value_names_no_convention(tmp_path: Path) -> None:
    add_class(tmp_path, "A", "A-1")
    write_sheet(tmp_path / "A.metadata.xlsx", ("FILE", "CONVENTION"), ("A-1", "=B9"))

    (refused,) = settled(tmp_path).refused

    assert refused.found.startswith("CONVENTION has 1 formulas without a value")
