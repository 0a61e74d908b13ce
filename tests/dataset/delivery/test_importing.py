"""What is refused before DVC is asked."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from pipeline.dataset.delivery import staging, swap
from pipeline.dataset.delivery.importing import import_dataset
from pipeline.errors import CrashedError
from tests.conftest import small_disk
from tests.dataset.delivery.deliveries import (
    Deliver,
    add_text,
    refusal,
    snapshot,
    write_pair,
    write_sheet,
)
from tests.test_worker_pool import end_at_once


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

    assert "COVID-2.png: its mask is named covid-2.png; rename it: `mv" in refusal(source, project)


def test_twins_by_case_in_one_folder_are_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    write_pair(source, "COVID", "covid-2", seed=9)

    assert "differs from COVID-2.png by case only" in refusal(source, project)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "file is empty"),
        (b"<!doctype html><title>Log in</title>", "found a web page, no PNG content"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "a chunk's checksum is wrong"),
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

    assert "COVID/masks/COVID-1.png: ends within a chunk" in refusal(source, project)


def test_smoothed_mask_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    mask = source / "COVID/masks/COVID-1.png"
    Image.open(mask).resize((64, 64), Image.Resampling.BILINEAR).convert("L").save(mask)

    assert "expected only 0 and 255" in refusal(source, project)


def test_mask_of_another_size_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    mask = source / "COVID/masks/COVID-1.png"
    Image.open(mask).resize((50, 40), Image.Resampling.NEAREST).save(mask)

    assert "size 50x40, expected the radiograph's 64x64 or 256x256" in refusal(source, project)


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

    assert "COVID/images/COVID-40.png: file is empty" in refusal(source, project)


def test_a_killed_worker_is_a_crash_and_changes_nothing(
    deliver: Deliver, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALONE", 1)
    monkeypatch.setattr(staging, "place_pair", end_at_once)
    source, before = deliver("COVID"), snapshot(project)

    with pytest.raises(CrashedError, match=r"^import: one of \d+ worker processes was killed"):
        import_dataset(source, project)

    assert snapshot(project) == before


def test_metadata_of_an_unknown_class_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    write_sheet(source / "Covid.metadata.xlsx", ("FILE NAME",), ("COVID-1",))

    assert "Covid.metadata.xlsx: there is no class Covid" in refusal(source, project)


def test_unreadable_metadata_is_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    add_text(source / "COVID.metadata.xlsx", "<html>")

    assert ": COVID.metadata.xlsx: not readable as .xlsx" in refusal(source, project)


def test_metadata_that_name_no_radiograph_are_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    add_text(source / "COVID.metadata.csv", "FILE NAME,PATIENT\nxx-1,7\n")

    assert "none of its 1 rows names a radiograph of the class: found xx-1" in refusal(
        source, project
    )


def test_two_sheets_of_one_class_are_refused(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    for suffix in ("csv", "tsv"):
        add_text(source / f"COVID.metadata.{suffix}", "FILE NAME\nCOVID-1\n")

    assert "COVID: has 2 metadata sheets; join them" in refusal(source, project)


def test_no_sheet_is_read_when_no_pair_is_left(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID", count=1)
    (source / "COVID/masks/COVID-1.png").unlink()
    add_text(source / "COVID.metadata.csv", "FILE NAME\nCOVID-1\n")

    assert "COVID-1.png: has no mask" in refusal(source, project)


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

    assert "is a link, which DVC cannot take in" in refusal(deliver("COVID"), project)


def test_a_data_folder_that_dvc_does_not_know_is_never_replaced(
    deliver: Deliver, project: Path
) -> None:
    write_pair(project / "data", "Normal", "Normal-1", seed=1)

    assert "not known to DVC; keep it with `dvc add data`" in refusal(deliver("COVID"), project)


def test_appending_to_data_that_was_not_pulled_is_refused(deliver: Deliver, project: Path) -> None:
    add_text(project / "data.dvc")

    assert "dvc pull data" in refusal(deliver("COVID"), project, append=True)


def test_a_full_disk_leaves_nothing(deliver: Deliver, project: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path, "256k") as small:
        (small / ".dvc").mkdir()
        source = deliver("COVID", count=8, side=299)

        assert "No space left on device; nothing was changed" in refusal(source, small)
        assert not list(small.glob(".*partial"))


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


def folder_modes(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*")) if path.is_dir()}


def make_read_only(root: Path) -> Path:
    for path in folder_modes(root):
        path.chmod(0o555)
    return root


def test_read_only_folders_of_data_are_staged_as_writable_ones(
    deliver: Deliver, tmp_path: Path
) -> None:
    source = make_read_only(deliver("COVID"))
    (tmp_path / "aside").mkdir(mode=0o555)
    (source / "COVID/linked").symlink_to(tmp_path / "aside")

    staging.link_tree(source, tmp_path / "stage")

    assert set(folder_modes(source).values()) == {0o555}
    linked = tmp_path / "stage/COVID/linked"
    modes = folder_modes(tmp_path / "stage")
    assert modes.pop(linked) == 0o555
    assert set(modes.values()) == {0o755}


def test_read_only_folders_are_moved_and_removed(
    deliver: Deliver, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(project / "data", "COVID", "COVID-1", 1)
    make_read_only(project / "data")
    write_pair(project / swap.STAGING, "COVID", "COVID-1", 1)
    seen: list[int] = []
    rename, remove = Path.rename, shutil.rmtree

    def watched_rename(path: Path, target: Path) -> Path:
        seen.extend(folder_modes(path).values())
        return rename(path, target)

    def watched_remove(path: Path, **options: bool) -> None:
        seen.extend(folder_modes(path).values() if path.exists() else ())
        remove(path, **options)

    monkeypatch.setattr(Path, "rename", watched_rename)
    monkeypatch.setattr(shutil, "rmtree", watched_remove)

    swap._swap(project)
    write_pair(project / swap.STAGING, "COVID", "COVID-1", 1)
    make_read_only(project / swap.STAGING)
    swap.restore(project)

    assert set(seen) == {0o755}
    assert (project / "data/COVID").is_dir()
    assert [path.name for path in project.glob(".data*")] == []


def test_a_restoring_that_is_interrupted_has_the_former_pointer_already(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(project / "data", "COVID", "COVID-1", 1)
    write_pair(project / swap.STAGING, "COVID", "COVID-2", 2)
    add_text(project / "data.dvc", "former")
    swap._swap(project)
    add_text(project / "data.dvc", "new")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swap.restore(project)

    assert (project / "data.dvc").read_text() == "former"


def failing_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")
