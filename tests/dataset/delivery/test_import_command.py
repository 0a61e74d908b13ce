"""Imports with DVC and git at work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from openpyxl import load_workbook

from pipeline.dataset.delivery.importing import import_dataset
from pipeline.dataset.delivery.swap import importing
from pipeline.dataset.layout import list_dataset
from pipeline.errors import DatasetError
from pipeline.files import read_json
from pipeline.params_file import override
from pipeline.settings import child_environment
from tests.conftest import PROJECT
from tests.dataset.delivery.deliveries import (
    Deliver,
    add_text,
    refusal,
    shell,
    snapshot,
    write_pair,
    write_sheet,
)


@pytest.fixture(scope="session")
def recorded_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose dataset is linked to DVC's cache, recorded and committed."""
    folder = tmp_path_factory.mktemp("recorded")
    for number in (1, 2):
        write_pair(folder / "former", "COVID", f"COVID-{number}", number)
    sheet = folder / "former/COVID.metadata.xlsx"
    write_sheet(sheet, ("FILE NAME", "PATIENT"), ("COVID-1", 7), ("COVID-2", 8))
    project = Path(shutil.copytree(template, folder / "project"))
    shell(project, "dvc config cache.type hardlink,symlink")
    result = import_dataset(folder / "former", project)
    shell(project, result.commit or "")
    shell(project, "git add -A && git commit -qm 'Rest'")
    return folder


@pytest.fixture
def recorded(recorded_template: Path, tmp_path: Path) -> Path:
    project = tmp_path / "recorded"
    shell(tmp_path, f"cp -a {recorded_template}/project {project}")  # keeps the links to the cache
    return project


@pytest.mark.slow
def test_a_wrapped_zip_becomes_the_dataset(deliver: Deliver, project: Path, tmp_path: Path) -> None:
    source = deliver("COVID", "Viral Pneumonia", side=299)
    add_text(source / "README.md.txt")
    add_text(source / "COVID/.DS_Store")
    add_text(source / "__MACOSX/COVID/._COVID-1.png")
    write_sheet(source / "COVID.metadata.xlsx", ("FILE NAME",), ("COVID-1",))
    archive = shutil.make_archive(str(tmp_path / "upload"), "zip", tmp_path, "delivery")

    result = import_dataset(Path(archive), project)

    assert result.added == {"COVID": 2, "Viral Pneumonia": 2}
    assert (result.skipped, result.total, result.replaced) == (0, 4, False)
    assert result.left_out == ["README.md.txt"]
    assert result.commit is not None
    assert "added pairs: COVID 2, Viral Pneumonia 2" in result.summary()
    shell(project, result.commit)
    assert shell(project, "dvc status data.dvc --json").strip() == "{}"
    assert shell(project, "git status --porcelain") == ""
    assert not list(project.glob(".*partial"))
    held = {str(path.relative_to(project / "data")) for path in (project / "data").rglob("*.*")}
    assert held == {
        "COVID.metadata.xlsx",
        *(f"COVID/{half}/COVID-{n}.png" for half in ("images", "masks") for n in (1, 2)),
        *(
            f"Viral Pneumonia/{half}/Viral Pneumonia-{n}.png"
            for half in ("images", "masks")
            for n in (1, 2)
        ),
    }


@pytest.mark.slow
def test_a_delivery_is_appended_and_appending_it_again_changes_nothing(
    deliver: Deliver, recorded: Path
) -> None:
    cached = {path: path.read_bytes() for path in (recorded / ".dvc/cache").rglob("*.*")}
    source = deliver("COVID", "Normal", count=3)
    write_sheet(source / "COVID.metadata.xlsx", ("FILE NAME", "AGE"), ("COVID-1", 50))

    assert read_json(recorded / "data.previous.json") == {}
    result = import_dataset(source, recorded, append=True)
    previous = read_json(recorded / "data.previous.json")
    again = import_dataset(source, recorded, append=True)

    assert result.added == {"COVID": 1, "Normal": 3}
    assert (result.skipped, result.total, result.replaced) == (2, 6, False)
    assert len(list_dataset(recorded / "data").pairs) == 6
    assert (again.added, again.skipped, again.changed, again.commit) == ({}, 6, False, None)
    assert "nothing to commit" in again.summary()
    assert {path: path.read_bytes() for path in cached} == cached
    assert shell(recorded, "dvc status data.dvc --json").strip() == "{}"
    assert {name: one["n"] for name, one in previous["classes"].items()} == {"COVID": 2}
    assert previous["all"]["lung_area"]["median"] == pytest.approx(140 * 68.5 / 256**2, abs=1e-6)
    assert read_json(recorded / "data.previous.json") == previous
    assert result.commit is not None
    assert result.commit.startswith("git add data.dvc data.previous.json .gitignore && git commit")
    assert " M data.previous.json" in shell(recorded, "git status --porcelain")
    sheet = load_workbook(recorded / "data/COVID.metadata.xlsx").worksheets[0]
    assert list(sheet.values) == [
        ("FILE NAME", "PATIENT", "AGE"),
        ("COVID-1", 7, 50),
        ("COVID-2", 8, None),
    ]


@pytest.mark.slow
def test_sheets_are_joined_whatever_their_kind_and_what_is_lost_is_told(
    deliver: Deliver, recorded: Path
) -> None:
    add_text(recorded / "params.yaml", (PROJECT / "params.yaml").read_text())
    override(recorded / "params.yaml", ["validate.patient_columns=[Fall]"])
    source = deliver("COVID", first=3)
    add_text(source / "COVID.metadata.csv", "Datei;Fall;Patient\n3;9;\n4;;\nCOVID-5;8;x\n")
    add_text(source / "patients.csv")

    result = import_dataset(source, recorded, append=True)

    data = recorded / "data"
    assert [path.name for path in data.glob("*.metadata.*")] == ["COVID.metadata.xlsx"]
    rows = [*load_workbook(data / "COVID.metadata.xlsx").worksheets[0].values]
    assert rows[0] == ("FILE NAME", "PATIENT", "Fall")
    assert rows[3:5] == [("3", "unknown", "9"), ("4", "unknown", "9")]
    assert result.summary().splitlines()[1:-1] == [
        "left out, no part of the layout: patients.csv",
        "a table is read when it is named <class>.metadata.xlsx or .csv",
        "delivered COVID.metadata.csv: empty cells that took the value above: 1",
        "COVID.metadata.xlsx: rows 5, with a radiograph 4, patients 3, empty cells that took the "
        "value above 0",
        "COVID.metadata.xlsx: rows that name no radiograph: 1 (COVID-5)",
    ]


def test_a_sheet_that_adds_nothing_to_any_radiograph_is_refused(
    deliver: Deliver, recorded: Path
) -> None:
    source = deliver("COVID", first=3)
    add_text(source / "COVID.metadata.csv", "FILE;PATIENT\nxx-1;7\n")

    assert "COVID.metadata.csv: none of its 1 rows names" in refusal(source, recorded, append=True)


@pytest.mark.slow
def test_a_sheet_of_data_that_is_a_link_is_never_written_through(
    deliver: Deliver, recorded: Path, tmp_path: Path
) -> None:
    elsewhere = add_text(tmp_path / "Normal.csv", "FILE,PATIENT\nNormal-1,7\n")
    shell(recorded, f"cp {elsewhere} data/Normal.metadata.csv && dvc add -q data")
    source = deliver("Normal")
    add_text(source / "Normal.metadata.csv", "FILE,PATIENT\nNormal-1,8\n")
    shell(recorded, f"ln -sf {elsewhere} data/Normal.metadata.csv")

    message = refusal(source, recorded, append=True)

    assert f"a link to {elsewhere}; put the file itself in its place" in message
    assert elsewhere.read_text() == "FILE,PATIENT\nNormal-1,7\n"


@pytest.mark.slow
def test_a_name_that_stands_for_other_content_is_refused(deliver: Deliver, recorded: Path) -> None:
    source = deliver("COVID", count=3)
    write_pair(source, "COVID", "COVID-2", seed=99)
    write_sheet(source / "COVID.metadata.xlsx", ("FILE NAME", "PATIENT"), ("COVID-1", 5))

    message = refusal(source, recorded, append=True)

    assert "3 problems" in message
    assert "COVID/images/COVID-2.png: data/ holds another file of this name" in message
    assert "COVID/masks/COVID-2.png: data/ holds another file of this name" in message
    assert "COVID.metadata.xlsx: COVID-1: PATIENT is 5, another row says 7" in message


def test_a_class_that_differs_by_case_is_refused(deliver: Deliver, recorded: Path) -> None:
    source = deliver("Covid")

    assert "Covid: data/ calls this class COVID" in refusal(source, recorded, append=True)


@pytest.mark.slow
def test_a_replaced_dataset_can_be_brought_back(deliver: Deliver, recorded: Path) -> None:
    before = snapshot(recorded)

    result = import_dataset(deliver("Normal"), recorded)

    assert result.replaced
    assert "the former dataset stays" in result.summary()
    assert {pair.class_name for pair in list_dataset(recorded / "data").pairs} == {"Normal"}
    assert result.commit is not None
    assert read_json(recorded / "data.previous.json") == {}
    shell(recorded, result.commit)
    shell(recorded, "git checkout -q HEAD~1 data.dvc data.previous.json && dvc checkout -q")
    assert snapshot(recorded) == before


@pytest.mark.slow
@pytest.mark.parametrize("append", [False, True])
def test_data_with_changes_that_dvc_does_not_know_are_refused(
    deliver: Deliver, recorded: Path, append: bool
) -> None:
    write_pair(recorded / "data", "COVID", "COVID-77", seed=77)

    message = refusal(deliver("Normal"), recorded, append)

    assert "differs from data.dvc (modified)" in message


@pytest.mark.slow
def test_data_that_are_not_in_the_cache_are_refused(deliver: Deliver, recorded: Path) -> None:
    shutil.rmtree(recorded / ".dvc/cache/files")

    assert "not in cache" in refusal(deliver("Normal"), recorded)


@pytest.mark.slow
def test_a_version_that_is_not_committed_is_never_replaced(
    deliver: Deliver, recorded: Path
) -> None:
    import_dataset(deliver("Normal", name="first"), recorded)

    assert "data.dvc: not committed" in refusal(deliver("COVID", name="second"), recorded)


def test_a_failure_of_dvc_restores_the_project(deliver: Deliver, project: Path) -> None:
    (project / ".dvc/cache").write_text("in the way")

    message = refusal(deliver("COVID"), project)

    assert "`dvc add data` failed, nothing was changed: ERROR" in message


@pytest.mark.slow
def test_files_that_dvc_ignores_restore_the_former_dataset(
    deliver: Deliver, recorded: Path
) -> None:
    add_text(recorded / ".dvcignore", "Normal-2.png\n")

    message = refusal(deliver("Normal"), recorded, append=True)

    assert "DVC took 7 of 9 files; rename what .dvcignore matches" in message
    assert shell(recorded, "git status --porcelain data.dvc") == ""


def import_killed_in(last: str, source: Path, project: Path) -> None:
    """Append `source`, but die where the function `last` of the swap is called."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from pipeline.dataset.delivery import importing, swap\n"
        "def die(*_): os._exit(9)\n"
        "importing.check_replaceable = lambda *_: None\n"
        f"swap.{last} = die\n"
        "importing.import_dataset(Path(sys.argv[1]), Path(sys.argv[2]), append=True)"
    )
    command = [sys.executable, "-c", script, str(source), str(project)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, check=False)
    assert done.returncode == 9, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("last", ["_swap", "Profile.write", "_run"])
def test_an_import_that_was_killed_is_undone_by_the_next(
    deliver: Deliver, recorded: Path, last: str
) -> None:
    before = snapshot(recorded)
    source = deliver("Normal")
    import_killed_in(last, source, recorded)
    (source / "Normal/masks/Normal-1.png").unlink()

    with pytest.raises(DatasetError, match="has no mask"):
        import_dataset(source, recorded)

    assert snapshot(recorded) == before


@pytest.mark.slow
def test_a_pointer_that_was_cut_off_as_dvc_was_killed_is_undone(
    deliver: Deliver, recorded: Path
) -> None:
    before = snapshot(recorded)
    import_killed_in("_check_pointer", deliver("Normal"), recorded)
    (recorded / "data.dvc").write_bytes(b"")

    with importing(recorded):
        assert snapshot(recorded) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "by_hand"),
    [("_run", "dvc add -q data && git add -A . && git commit -qm Mine"), ("_check_pointer", ":")],
)
def test_a_version_that_dvc_took_in_after_an_import_was_killed_stays(
    deliver: Deliver,
    recorded: Path,
    caplog: pytest.LogCaptureFixture,
    last: str,
    by_hand: str,
) -> None:
    import_killed_in(last, deliver("Normal"), recorded)
    shell(recorded, by_hand)

    result = import_dataset(deliver("CT", name="next"), recorded, append=True)

    assert result.total == 6
    assert "data: stays as it is, as data.dvc was made anew after the unfinished" in caplog.text
    assert not list(recorded.glob(".*partial"))


@pytest.mark.slow
def test_real_deliveries_are_imported_one_after_the_other(real_data: Path, project: Path) -> None:
    first = import_dataset(real_data / "COVID-19_Radiography_Dataset", project)
    second = import_dataset(real_data / "increment_COVID", project, append=True)

    assert first.added == {"Normal": 287, "Tuberculosis": 274}
    assert second.added == {"COVID": 149}
    assert {
        name: one["n"] for name, one in read_json(project / "data.previous.json")["classes"].items()
    } == {"Normal": 287, "Tuberculosis": 274}
    assert second.total == len(list_dataset(project / "data").pairs) == 710
