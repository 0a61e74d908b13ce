"""Conventions that an import brings or carries over, or a person records, with DVC at work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app as cli
from pipeline.dataset.delivery.confirmation import ChosenPairs, confirm_convention
from pipeline.dataset.delivery.importing import import_dataset
from pipeline.dataset.metadata.convention_file import recorded_conventions
from pipeline.dataset.validation.populations import read_previous
from pipeline.errors import DatasetError
from pipeline.files import read_json, sha256_file, write_json
from tests.conftest import PROJECT
from tests.dataset.delivery.deliveries import (
    Deliver,
    add_text,
    refusal,
    shell,
    snapshot,
    write_pair,
)


@pytest.fixture(scope="module")
def two_deliveries(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal of two pairs and COVID of one, then two more of COVID that are drawn `wide`."""
    folder = tmp_path_factory.mktemp("conventions")
    project = Path(shutil.copytree(template, folder / "project"))
    for name in ("Normal-1", "Normal-2", "COVID-1"):
        write_pair(folder / "first", name.split("-")[0], name, seed=len(name))
    for name in ("COVID-2", "COVID-3"):
        write_pair(folder / "second", "COVID", name, seed=int(name[-1]))
    shell(project, import_dataset(folder / "first", project).commit or "")
    import_dataset(folder / "second", project, append=True, convention="wide")
    shell(project, "git add -A && git commit -qm Second")
    return folder


@pytest.fixture
def appended(two_deliveries: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_deliveries / "project", tmp_path / "appended", symlinks=True))


def known(project: Path) -> dict[str, str]:
    rows = recorded_conventions(project / "data")
    return {image_id: f"{row.convention} by {row.by}" for image_id, row in sorted(rows.items())}


def confirm(project: Path, name: str, *pairs: str, **chosen: object) -> str:
    return confirm_convention(project, name, ChosenPairs(pairs, **chosen)).summary()  # type: ignore[arg-type]


def refused(project: Path, name: str, *pairs: str, **chosen: object) -> str:
    """The one line of a refused command, which must leave the project as it was."""
    before = snapshot(project)
    with pytest.raises(DatasetError) as caught:
        confirm(project, name, *pairs, **chosen)
    assert snapshot(project) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_delivery_brings_its_convention(two_deliveries: Path, appended: Path) -> None:
    assert known(appended) == {"COVID/COVID-2": "wide by import", "COVID/COVID-3": "wide by import"}
    assert shell(appended, "dvc status data.dvc --json").strip() == "{}"
    assert (two_deliveries / "project/data/COVID.conventions.csv").is_file()


@pytest.mark.slow
def test_appending_again_keeps_what_is_recorded(two_deliveries: Path, appended: Path) -> None:
    before = known(appended)

    again = import_dataset(two_deliveries / "second", appended, append=True)

    assert not again.changed
    assert known(appended) == before


@pytest.mark.slow
def test_a_convention_can_be_brought_later_and_a_persons_word_stays(
    two_deliveries: Path, appended: Path
) -> None:
    confirm(appended, "standard", "COVID/COVID-2")
    profile = read_json(appended / "data.previous.json")

    result = import_dataset(two_deliveries / "second", appended, append=True, convention="narrow")

    assert known(appended) == {
        "COVID/COVID-2": "standard by person",
        "COVID/COVID-3": "narrow by import",
    }
    assert result.summary().splitlines()[1:-1] == [
        "convention narrow: recorded for 1 delivered pairs, 1 of them wide before",
        "convention kept as a person says: 1 pairs",
        "conventions: standard 4, narrow 1 (said by: import 1, person 1)",
    ]
    # Nothing was delivered, so what the delivery is compared with is what it was.
    assert read_json(appended / "data.previous.json") == profile


@pytest.mark.slow
def test_a_whole_import_carries_over_what_holds_and_tells_what_does_not(
    two_deliveries: Path, appended: Path, tmp_path: Path
) -> None:
    confirm(appended, "standard", classes=["Normal"])
    shell(appended, "git add -A && git commit -qm Confirmed")
    for name in ("first", "second"):
        shutil.copytree(two_deliveries / name, tmp_path / "whole", dirs_exist_ok=True)
    write_pair(tmp_path / "whole", "COVID", "COVID-2", seed=9)
    for half in ("images", "masks"):
        (tmp_path / f"whole/Normal/{half}/Normal-2.png").unlink()

    result = import_dataset(tmp_path / "whole", appended)

    assert known(appended) == {
        "COVID/COVID-3": "wide by import",
        "Normal/Normal-1": "standard by person",
    }
    assert "conventions dropped, as the mask changed: 1" in result.sheets
    assert "conventions dropped, as the pair is gone: 1" in result.sheets


@pytest.mark.slow
def test_the_data_of_another_project_bring_their_conventions(
    appended: Path, project: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(appended / "data", tmp_path / "data"))
    write_pair(source, "COVID", "COVID-3", seed=77)

    result = import_dataset(source, project)

    assert known(project) == {"COVID/COVID-2": "wide by import"}
    assert result.left_out == []
    told = "delivered conventions that are of no delivered mask, not used: 1"
    assert told in result.sheets
    shell(project, "git add -A && git commit -qm First")
    confirm(project, "narrow", "COVID/COVID-2")
    assert (
        "COVID/COVID-2: data/ records the convention narrow, the delivery wide; correct one"
    ) in refusal(source, project, append=True)


def test_a_damaged_file_of_conventions_refuses_a_delivery(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    add_text(source / "COVID.conventions.csv", "name\n")

    assert "COVID.conventions.csv: columns are name, expected" in refusal(source, project)


def test_a_name_that_cannot_be_used_is_refused_before_anything_is_read(
    tmp_path: Path, project: Path
) -> None:
    with pytest.raises(DatasetError, match=r"^--convention: found 'Wide', expected .*write wide$"):
        import_dataset(tmp_path / "nowhere", project, convention="Wide")


@pytest.mark.slow
def test_a_misspelt_convention_refuses_the_delivery(deliver: Deliver, appended: Path) -> None:
    source = deliver("COVID", first=4, count=1)
    before = snapshot(appended)

    said = r"^--convention: found 'wdie' beside 'wide', which 2 pairs have, .*; write wide"
    with pytest.raises(DatasetError, match=said):
        import_dataset(source, appended, append=True, convention="wdie")

    assert snapshot(appended) == before


@pytest.mark.slow
def test_a_convention_against_the_delivered_sheet_is_refused(
    deliver: Deliver, appended: Path
) -> None:
    source = deliver("Normal", first=4, count=2)
    add_text(source / "Normal.metadata.csv", "FILE,CONVENTION\nNormal-4,narrow\nNormal-5,narrow\n")
    before = snapshot(appended)

    with pytest.raises(DatasetError) as caught:
        import_dataset(source, appended, append=True, convention="wide")

    assert str(caught.value) == (
        "--convention: found 'wide', and a metadata sheet says another one of 2 delivered pairs "
        "(Normal/Normal-4, Normal/Normal-5: 'narrow'), expected one word on each; leave the option "
        "out, or correct the sheet"
    )
    assert snapshot(appended) == before


@pytest.mark.slow
def test_a_zip_brings_conventions_by_its_files_and_by_the_option(
    appended: Path, project: Path, tmp_path: Path
) -> None:
    confirm(appended, "standard", "Normal/Normal-1")
    packed = Path(shutil.make_archive(str(tmp_path / "all"), "zip", appended / "data"))

    result = import_dataset(packed, project, convention="narrow")

    assert known(project) == {
        **dict.fromkeys(("COVID/COVID-1", "COVID/COVID-2", "COVID/COVID-3"), "narrow by import"),
        "Normal/Normal-1": "standard by person",
        "Normal/Normal-2": "narrow by import",
    }
    told = "conventions that the delivery's own files record: 3, 1 of them by a person"
    assert told in result.sheets


def test_two_files_of_one_class_refuse_a_delivery(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    header = "name,mask_sha256,convention,by\n"
    for suffix in ("conventions", "CONVENTIONS"):
        add_text(source / f"COVID.{suffix}.csv", header)

    said = refusal(source, project)

    assert "COVID.conventions.csv: COVID.CONVENTIONS.csv is of this class too, expected one" in said


@pytest.mark.slow
def test_new_pairs_are_those_of_the_last_delivery_whatever_is_recorded(appended: Path) -> None:
    assert read_previous(appended).version.endswith(".dir")

    said = confirm(appended, "narrow", new=True)
    again = confirm(appended, "narrow", new=True, classes=["COVID"])

    assert known(appended) == {
        "COVID/COVID-2": "narrow by person",
        "COVID/COVID-3": "narrow by person",
    }
    assert said.splitlines() == [
        "narrow: recorded for COVID 2; before: wide 2",
        "total: standard 3, narrow 2",
        "commit it: git add data.dvc data.previous.json .gitignore && git commit -m "
        "'Record the convention narrow of 2 pairs'",
    ]
    assert again.endswith("nothing to commit")
    assert shell(appended, "dvc status data.dvc --json").strip() == "{}"
    assert not list(appended.glob(".*partial"))


@pytest.mark.slow
def test_without_a_version_before_every_pair_is_new(two_deliveries: Path, project: Path) -> None:
    import_dataset(two_deliveries / "first", project)

    assert "recorded for COVID 1, Normal 2" in confirm(project, "wide", new=True)


def test_a_profile_that_names_no_version_tells_no_new_pairs(appended: Path) -> None:
    path = appended / "data.previous.json"
    write_json(path, {key: one for key, one in read_json(path).items() if key != "version"})

    assert "does not say which version it is of" in refused(appended, "wide", new=True)


@pytest.mark.slow
def test_pairs_are_named_by_name_by_file_and_by_a_list(appended: Path, tmp_path: Path) -> None:
    confirm(appended, "standard", "Normal/Normal-1", "data/COVID/masks/COVID-1.png")
    listed = add_text(tmp_path / "doubtful.csv", "score;Image ID\n1;COVID/COVID-3\n2;\n")
    confirm(appended, "standard", list_file=listed)

    assert known(appended) == {
        "COVID/COVID-1": "standard by person",
        "COVID/COVID-2": "wide by import",
        "COVID/COVID-3": "standard by person",
        "Normal/Normal-1": "standard by person",
    }


@pytest.mark.slow
def test_a_convention_is_renamed_by_what_it_is_now(appended: Path) -> None:
    assert "found 'wode' beside 'wide'" in refused(appended, "wode", "Normal/Normal-1")

    confirm(appended, "wide", "COVID/COVID-3")
    said = confirm(appended, "wode", instead_of="wide")

    assert "wode: recorded for COVID 2; before: wide 2" in said
    assert known(appended) == {"COVID/COVID-2": "wode by import", "COVID/COVID-3": "wode by person"}

    confirm(appended, "narrow", instead_of="wode", classes=["COVID"])
    assert set(known(appended).values()) == {"narrow by person"}


@pytest.mark.slow
def test_a_new_name_for_what_a_sheet_or_nobody_said_is_no_persons_word(
    two_deliveries: Path, project: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(two_deliveries / "first", tmp_path / "told"))
    add_text(source / "Normal.metadata.csv", "FILE,CONVENTION\nNormal-1,wide\nNormal-2,wide\n")
    shell(project, import_dataset(source, project).commit or "")

    confirm(project, "broad", instead_of="wide")
    confirm(project, "narrow", instead_of="standard")

    assert known(project) == {
        "COVID/COVID-1": "narrow by import",
        **dict.fromkeys(("Normal/Normal-1", "Normal/Normal-2"), "broad by import"),
    }


def test_the_right_spelling_is_refused_beside_a_slip_that_stays(appended: Path) -> None:
    said = refused(appended, "standart", "COVID/COVID-2")
    assert "found 'standart' beside 'standard', which 3 pairs have" in said

    said = refused(appended, "wiide", classes=["Normal", "COVID"], instead_of="standard")

    assert said == (
        "convention: found 'wiide' beside 'wide', which 2 other pairs have, expected one spelling; "
        "if wiide is right, `lungseg data convention wiide --instead-of wide`, else write wide"
    )


@pytest.mark.slow
def test_of_several_slips_each_is_mended_by_itself(two_deliveries: Path, project: Path) -> None:
    shutil.copytree(two_deliveries / "first", project.parent / "told")
    told = add_text(
        project.parent / "told/Normal.metadata.csv", "FILE,Drawn\nNormal-1,Wide\nNormal-2,WIDE\n"
    )
    add_text(told.with_name("COVID.metadata.csv"), "FILE,Drawn\nCOVID-1,wide\n")
    shell(project, import_dataset(told.parent, project).commit or "")
    params = (PROJECT / "params.yaml").read_text()
    params = params.replace("convention_columns: []", "convention_columns: [Drawn]")
    add_text(project / "params.yaml", params)
    shell(project, "git add -A && git commit -qm Columns")

    assert "before: Wide 1" in confirm(project, "wide", instead_of="Wide")
    assert "before: WIDE 1" in confirm(project, "wide", instead_of="WIDE")


@pytest.mark.parametrize(
    ("name", "pairs", "chosen", "said"),
    [
        ("Wide", ("COVID/COVID-1",), {}, "convention: found 'Wide', expected"),
        ("wide", (), {}, "found no pairs named, expected one of both; give PAIR... or --from"),
        ("wide", ("COVID/COVID-1",), {"new": True}, "found pairs both named and described"),
        ("wide", ("COVID/x", "y"), {}, "found 2 pairs that data/ does not have (COVID/x, y)"),
        ("wide", (), {"classes": ["covid"]}, "expected one of COVID, Normal; write COVID"),
        ("wide", (), {"classes": ["CT"]}, "expected one of COVID, Normal; correct the name"),
        ("wide", (), {"instead_of": "wdie"}, "no pair of data/ has it, expected one of standard"),
        (
            "wide",
            (),
            {"instead_of": "wide", "classes": ["Normal"]},
            "found no pair for which all of this holds; give other options",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    appended: Path, name: str, pairs: tuple[str, ...], chosen: dict[str, object], said: str
) -> None:
    assert said in refused(appended, name, *pairs, **chosen)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nCOVID/COVID-1\n", "found name, expected a column image_id that names pairs"),
        ("image_id\n", "found no pair, expected a column image_id"),
        ("", "found nothing, expected a column image_id"),
        ('image_id\n"COVID/COVID-1', "not readable as .csv (unexpected end of data)"),
        (None, "not readable as .csv (No such file or directory)"),
    ],
)
def test_a_list_without_pairs_is_refused(
    appended: Path, tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "list.csv"
    if text is not None:
        add_text(path, text)

    assert f"{path}: {said}" in refused(appended, "wide", list_file=path)


def doubtful(project: Path, folder: Path) -> Path:
    """A list such as the stage validate writes, of the three of COVID."""
    rows = ["image_id,convention,convention_by,mask_sha256"]
    for name, said in (("1", "standard,"), ("2", "wide,import"), ("3", "wide,import")):
        sha256 = sha256_file(project / f"data/COVID/masks/COVID-{name}.png")
        rows.append(f"COVID/COVID-{name},{said},{sha256}")
    return add_text(folder / "doubtful.csv", "\n".join(rows) + "\n")


@pytest.mark.slow
def test_a_list_takes_back_no_word_that_a_person_gave_since_it_was_written(
    appended: Path, tmp_path: Path
) -> None:
    listed = doubtful(appended, tmp_path)
    confirm(appended, "narrow", "COVID/COVID-3")
    confirm(appended, "standard", "COVID/COVID-1")  # which it is: only a person says it now

    assert refused(appended, "narrow", list_file=listed) == (
        f"{listed}: 1 of its pairs changed since it was written (COVID/COVID-1), expected them as "
        "they are listed; remove these lines, or let `dvc repro validate` write a new list"
    )

    left = [line for line in listed.read_text().splitlines(keepends=True) if "COVID-1" not in line]
    confirm(appended, "narrow", list_file=add_text(listed, "".join(left)))
    assert known(appended)["COVID/COVID-2"] == "narrow by person"


def test_a_list_says_nothing_of_a_mask_that_was_drawn_anew(appended: Path, tmp_path: Path) -> None:
    listed = doubtful(appended, tmp_path)
    rows = listed.read_text().splitlines()
    add_text(listed, "\n".join([*rows[:3], "COVID/COVID-3,wide,import,0123"]))

    assert "1 of its pairs changed since it was written (COVID/COVID-3)" in refused(
        appended, "narrow", list_file=listed
    )


def test_there_must_be_data_that_dvc_knows(project: Path, appended: Path) -> None:
    assert "found no pairs, expected some; `lungseg data import` them" in refused(
        project, "wide", classes=["A"]
    )
    (appended / "data/COVID/masks/COVID-1.png").unlink()
    assert "differs from data.dvc" in refused(appended, "wide", new=True)


@pytest.mark.slow
def test_an_interrupted_command_leaves_all_as_it_was(
    appended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(appended)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.dataset.delivery.swap._check_pointer", fail)
    with pytest.raises(DatasetError, match="No space left on device; nothing was changed"):
        confirm(appended, "wide", "Normal/Normal-1")

    assert snapshot(appended) == before


@pytest.mark.slow
def test_the_command_line_records_and_imports(
    deliver: Deliver, appended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(appended)
    source = deliver("Normal", first=3, count=1)
    runner = CliRunner()

    brought = runner.invoke(
        cli.app, ["data", "import", "--append", "--convention", "wide", str(source)]
    )
    recorded = runner.invoke(
        cli.app, ["data", "convention", "wide", "--class", "COVID", "--instead-of", "standard"]
    )

    assert "convention wide: recorded for 1 delivered pairs" in brought.output
    assert "wide: recorded for COVID 1; before: standard 1" in recorded.output
