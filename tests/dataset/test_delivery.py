from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deliveries import Deliver, shell, write_pair, write_sheet
from filelock import FileLock
from openpyxl import load_workbook
from PIL import Image

from pipeline.dataset import staging
from pipeline.dataset.delivery import import_dataset
from pipeline.dataset.layout import list_dataset
from pipeline.errors import DatasetError
from pipeline.settings import child_environment


def refusal(source: Path, project: Path, append: bool = False) -> str:
    """The one line of a refused import, which must leave the project as it was."""
    before = snapshot(project)

    with pytest.raises(DatasetError) as caught:
        import_dataset(source, project, append)

    assert snapshot(project) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def snapshot(project: Path) -> dict[str, bytes | None]:
    """Everything in the project but the insides of git and DVC."""
    return {
        str(path.relative_to(project)): path.read_bytes() if path.is_file() else None
        for path in sorted(project.rglob("*"))
        if path.relative_to(project).parts[0] not in (".git", ".dvc")
    }


def add_text(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# What is refused before DVC is asked


def test_radiograph_without_mask_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    (source / "COVID/masks/COVID-2.png").unlink()

    assert "COVID/images/COVID-2.png: has no mask; add or remove" in refusal(source, project)


def test_mask_without_radiograph_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    (source / "COVID/images/COVID-2.png").unlink()

    assert "COVID/masks/COVID-2.png: has no radiograph" in refusal(source, project)


def test_names_that_differ_by_case_are_both_named(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    (source / "COVID/masks/COVID-2.png").rename(source / "COVID/masks/covid-2.png")

    assert "COVID-2.png: its mask is named covid-2.png; rename one" in refusal(source, project)


def test_twins_by_case_in_one_folder_are_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    write_pair(source, "COVID", "covid-2", seed=9)

    assert "differs from COVID-2.png by case only" in refusal(source, project)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found no PNG or JPEG content"),
        (b"<!doctype html><title>Log in</title>", "found no PNG or JPEG content"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "found no PNG or JPEG content"),
    ],
)
def test_one_unreadable_radiograph_refuses_the_delivery(
    deliver: Deliver, project: Path, content: bytes, said: str
) -> None:
    source = deliver("COVID")
    (source / "COVID/images/COVID-2.png").write_bytes(content)

    message = refusal(source, project)

    assert "1 problem, nothing was imported" in message
    assert f"COVID/images/COVID-2.png: {said}" in message


def test_truncated_mask_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    mask = source / "COVID/masks/COVID-1.png"
    mask.write_bytes(mask.read_bytes()[:-60])

    assert "COVID/masks/COVID-1.png: cannot be decoded" in refusal(source, project)


def test_smoothed_mask_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    mask = source / "COVID/masks/COVID-1.png"
    Image.open(mask).resize((48, 48), Image.Resampling.BILINEAR).convert("L").save(mask)

    assert "expected only 0 and 255" in refusal(source, project)


def test_mask_of_another_size_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    mask = source / "COVID/masks/COVID-1.png"
    Image.open(mask).resize((50, 40), Image.Resampling.NEAREST).save(mask)

    assert "size 50x40, expected the radiograph's 48x48 or 256x256" in refusal(source, project)


def test_links_and_pipes_are_refused_and_not_followed(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    (source / "COVID/images/COVID-3.png").symlink_to("/etc/passwd")
    os.mkfifo(source / "COVID/masks/COVID-3.png")
    (source / "Normal").symlink_to(source / "COVID")

    message = refusal(source, project)

    assert "COVID/images/COVID-3.png: is a link" in message
    assert "COVID/masks/COVID-3.png: is neither file nor folder" in message
    assert "Normal: is a link" in message


@pytest.mark.parametrize("name", ["COVID\n3", "COVID\x1b[31m", os.fsdecode(b"COVID-\xff")])
def test_control_characters_in_names_are_refused(
    deliver: Deliver, project: Path, name: str
) -> None:
    source = deliver("COVID")
    write_pair(source, "COVID", name, seed=3)

    message = refusal(source, project)

    assert "control or undecodable characters" in message
    assert message.isprintable()


def test_other_formats_and_folders_are_refused(
    deliver: Deliver, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = deliver("COVID")
    add_text(source / "COVID/images/COVID-3.jpg")
    add_text(source / "COVID/masks/deep/COVID-4.png")
    add_text(source / "COVID/more/x.png")
    add_text(source / "Other/x.png")

    assert "4 problems" in refusal(source, project)

    assert "COVID/images/COVID-3.jpg: is not named *.png" in caplog.text
    assert "COVID/masks/deep: is a folder" in caplog.text
    assert "COVID/more: unknown folder" in caplog.text
    assert "Other: holds neither images/ nor masks/" in caplog.text


def test_all_problems_are_counted_and_the_first_ones_named(
    deliver: Deliver, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = deliver("COVID", count=8)
    for mask in sorted((source / "COVID/masks").iterdir())[:7]:
        mask.write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        message = refusal(source, project)

    assert "7 problems, nothing was imported" in message
    assert message.endswith("; and 4 more")
    assert message.count(".png:") == 3
    assert len([record for record in caplog.records if "masks/COVID-" in record.message]) == 7


def test_problems_are_found_by_other_processes_too(
    deliver: Deliver, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALONE", 1)
    source = deliver("COVID", count=40)
    (source / "COVID/images/COVID-40.png").write_bytes(b"")

    assert "COVID/images/COVID-40.png: found no PNG" in refusal(source, project)


def test_metadata_of_an_unknown_class_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    write_sheet(source / "Covid.metadata.xlsx", ("FILE NAME",), ("COVID-1",))

    assert "Covid.metadata.xlsx: there is no class Covid" in refusal(source, project)


def test_unreadable_metadata_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    add_text(source / "COVID.metadata.xlsx", "<html>")

    assert ": COVID.metadata.xlsx: not readable as .xlsx" in refusal(source, project)


def test_a_single_class_is_refused_with_advice(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID") / "COVID"

    assert "COVID is a single class; give the folder that holds it" in refusal(source, project)


def test_a_folder_without_classes_is_refused(tmp_path: Path, project: Path) -> None:
    add_text(tmp_path / "delivery/a/x.png")
    add_text(tmp_path / "delivery/b/x.png")

    assert "found no class folder, expected <class>/images" in refusal(
        tmp_path / "delivery", project
    )


def test_empty_class_folders_hold_no_pair(tmp_path: Path, project: Path) -> None:
    (tmp_path / "delivery/COVID/images").mkdir(parents=True)

    assert "found no pair" in refusal(tmp_path / "delivery", project)


def test_a_missing_source_is_refused(tmp_path: Path, project: Path) -> None:
    assert "nowhere: no such folder or zip" in refusal(tmp_path / "nowhere", project)


def test_a_source_that_is_neither_file_nor_folder_is_refused(tmp_path: Path, project: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "pipe: no such folder or zip" in refusal(tmp_path / "pipe", project)


def test_the_project_itself_is_no_delivery(project: Path) -> None:
    assert "give a folder outside the project" in refusal(project, project)


def test_a_folder_without_dvc_is_no_project(deliver: Deliver, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    assert "not a DVC project" in refusal(deliver("COVID"), tmp_path / "elsewhere")


def test_a_second_import_at_the_same_time_is_refused(deliver: Deliver, project: Path) -> None:
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    with FileLock(project / ".dvc/tmp/lungseg-import.lock"):
        assert "another import is running" in refusal(deliver("COVID"), project)


def test_a_data_folder_that_is_a_link_is_refused(
    deliver: Deliver, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (project / "data").symlink_to(tmp_path / "disk")

    assert "is a link, which DVC cannot record" in refusal(deliver("COVID"), project)


def test_an_unrecorded_data_folder_is_never_replaced(deliver: Deliver, project: Path) -> None:
    write_pair(project / "data", "Normal", "Normal-1", seed=1)

    assert "not recorded; keep it with `dvc add data`" in refusal(deliver("COVID"), project)


def test_appending_to_data_that_was_not_pulled_is_refused(deliver: Deliver, project: Path) -> None:
    add_text(project / "data.dvc")

    assert "dvc pull data" in refusal(deliver("COVID"), project, append=True)


def test_a_full_disk_leaves_nothing(deliver: Deliver, project: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        (small / ".dvc").mkdir()
        source = deliver("COVID", count=8, side=299)

        assert "No space left on device; nothing was changed" in refusal(source, small)
        assert not list(small.glob(".*partial"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("linking", [True, False])
def test_the_former_dataset_is_staged_with_and_without_hard_links(
    deliver: Deliver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linking: bool
) -> None:
    source = deliver("COVID")
    (source / "COVID/images/COVID-1.png").rename(tmp_path / "cached")
    (source / "COVID/images/COVID-1.png").symlink_to(tmp_path / "cached")
    if not linking:
        monkeypatch.setattr(os, "link", failing_link)

    staging.link_tree(source, tmp_path / "stage")

    assert snapshot(tmp_path / "stage") == snapshot(source)
    assert (tmp_path / "stage/COVID/images/COVID-1.png").is_symlink()
    assert (tmp_path / "stage/COVID/masks/COVID-1.png").stat().st_nlink == 1 + linking


def failing_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


# With DVC at work


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
    shutil.copytree(recorded_template / "project", project)
    shell(project, "rm -rf data && dvc checkout -q")  # links again, which the copy has not
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

    result = import_dataset(source, recorded, append=True)
    again = import_dataset(source, recorded, append=True)

    assert result.added == {"COVID": 1, "Normal": 3}
    assert (result.skipped, result.total, result.replaced) == (2, 6, False)
    assert len(list_dataset(recorded / "data").pairs) == 6
    assert (again.added, again.skipped, again.changed, again.commit) == ({}, 6, False, None)
    assert "nothing to record" in again.summary()
    assert {path: path.read_bytes() for path in cached} == cached
    assert shell(recorded, "dvc status data.dvc --json").strip() == "{}"
    sheet = load_workbook(recorded / "data/COVID.metadata.xlsx").worksheets[0]
    assert list(sheet.values) == [
        ("FILE NAME", "PATIENT", "AGE"),
        ("COVID-1", 7, 50),
        ("COVID-2", 8, None),
    ]


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


@pytest.mark.slow
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
    shell(recorded, result.commit)
    shell(recorded, "git checkout -q HEAD~1 data.dvc && dvc checkout -q")
    assert snapshot(recorded) == before


@pytest.mark.slow
@pytest.mark.parametrize("append", [False, True])
def test_data_with_unrecorded_changes_are_refused(
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
def test_a_record_that_is_not_committed_is_never_replaced(deliver: Deliver, recorded: Path) -> None:
    import_dataset(deliver("Normal", name="first"), recorded)

    assert "data.dvc: not committed" in refusal(deliver("COVID", name="second"), recorded)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("last", ["_swap", "_run", "_check_record"])
def test_an_import_that_was_killed_is_undone_by_the_next(
    deliver: Deliver, recorded: Path, last: str
) -> None:
    before = snapshot(recorded)
    script = (
        "import os, sys; from pathlib import Path; from pipeline.dataset import delivery, record\n"
        "def die(*_): os._exit(9)\n"
        "record.check_recorded = delivery.check_recorded = lambda *_: None\n"
        f"record.{last} = die\n"
        "delivery.import_dataset(Path(sys.argv[1]), Path(sys.argv[2]), append=True)"
    )
    source = deliver("Normal")
    command = [sys.executable, "-c", script, str(source), str(recorded)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    (source / "Normal/masks/Normal-1.png").unlink()

    with pytest.raises(DatasetError, match="has no mask"):
        import_dataset(source, recorded)

    assert snapshot(recorded) == before


@pytest.mark.slow
def test_real_deliveries_are_imported_one_after_the_other(real_data: Path, project: Path) -> None:
    first = import_dataset(real_data / "COVID-19_Radiography_Dataset", project)
    second = import_dataset(real_data / "increment_COVID", project, append=True)

    assert first.added == {"Normal": 287, "Tuberculosis": 274}
    assert second.added == {"COVID": 149}
    assert second.total == len(list_dataset(project / "data").pairs) == 710
