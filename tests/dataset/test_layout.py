from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.dataset.layout import (
    Listing,
    Pair,
    Quarantined,
    class_folders,
    list_convention_files,
    list_dataset,
    list_sheets,
    refuse_unsafe,
)
from pipeline.errors import DatasetError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pairs_are_listed_in_order_with_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "Viral Pneumonia/images/b.png", "Viral Pneumonia/masks/b.png")
    touch(tmp_path, *(f"COVID/{half}/{n}.png" for half in ("images", "masks") for n in "ba"))
    touch(tmp_path, "COVID.metadata.xlsx")

    listing = list_dataset(tmp_path)

    ids = [pair.image_id for pair in listing.pairs]
    assert ids == ["COVID/a", "COVID/b", "Viral Pneumonia/b"]
    assert listing.refused == []
    assert listing.pairs[2].image == Path("Viral Pneumonia/images/b.png")
    assert listing.pairs[2].mask == Path("Viral Pneumonia/masks/b.png")


def test_files_without_their_other_half_are_listed_apart(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID/images/b.png")
    touch(tmp_path, "COVID/masks/c.png", "COVID/images/d.jpg", "COVID/masks/d.jpg")
    touch(tmp_path, "Normal/images/e.png")

    listing = list_dataset(tmp_path)

    assert listing.pairs == [Pair("COVID", "a")]
    assert {(one.path, one.image_id, one.reason) for one in listing.refused} == {
        ("COVID/images/b.png", "COVID/b", "unpaired"),
        ("COVID/masks/c.png", "COVID/c", "unpaired"),
        ("COVID/images/d.jpg", "COVID/d", "unpaired"),
        ("Normal/images/e.png", "Normal/e", "unpaired"),
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [("a.jpg", "a.png"), ("a.png", "A.jpg"), ("a.jpg", "a_mask.png")],
)
def test_names_that_mean_the_same_are_one_row_with_both_names(
    tmp_path: Path, image: str, mask: str
) -> None:
    touch(tmp_path, "COVID/images/b.png", "COVID/masks/b.png")
    touch(tmp_path, f"COVID/images/{image}", f"COVID/masks/{mask}")

    (row,) = list_dataset(tmp_path).refused

    assert row.path == f"COVID/images/{image}"
    assert row.found == f"radiograph COVID/images/{image}, mask COVID/masks/{mask}"
    assert row.remedy == f"export both as PNG and name both {Path(image).stem}.png"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.PNG", "a.png"),
        ("A.png", "a.png"),
        ("a.png", "a.PNG"),
        ("a 1.png", "a 1_mask.png"),
        ("A.PNG", "mask-a.PNG"),
    ],
)
def test_the_command_of_the_remedy_makes_a_pair_of_two_names(
    tmp_path: Path, image: str, mask: str
) -> None:
    touch(tmp_path, f"data/COVID/images/{image}", f"data/COVID/masks/{mask}")
    touch(tmp_path, "data/COVID/images/b.png", "data/COVID/masks/b.png")
    (row,) = list_dataset(tmp_path / "data").refused

    command, said = row.remedy.strip("`").split("`, then ")
    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, check=True)

    assert said == "`dvc add data"
    found = list_dataset(tmp_path / "data")
    assert found.refused == []
    assert found.pairs == [Pair("COVID", Path(image).stem), Pair("COVID", "b")]


@pytest.mark.parametrize("half", ["Images", "image"])
def test_a_folder_of_another_spelling_is_named_with_the_command(tmp_path: Path, half: str) -> None:
    touch(tmp_path, f"data/A B/{half}/a.png", "data/A B/Mask/a.png", "data/A B/sheet.txt")
    with pytest.raises(DatasetError, match="found no pairs") as caught:
        list_dataset(tmp_path / "data")

    for command in re.findall("`(mv -n [^`]+)`", str(caught.value)):
        subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, check=True)

    assert list_dataset(tmp_path / "data") == Listing([Pair("A B", "a")], [])


def test_a_folder_of_another_spelling_beside_the_right_one_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID/Masks/b.png")

    (row,) = list_dataset(tmp_path).refused

    assert (row.path, row.reason) == ("COVID/Masks", "layout")
    assert row.remedy == "move its files into masks/"


def test_masks_of_one_lung_are_left_to_the_import(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png")
    touch(tmp_path, "COVID/images/b.png", "COVID/masks/b_left.png", "COVID/leftMask/c.png")

    rows = list_dataset(tmp_path).refused

    assert [row.path for row in rows] == ["COVID/leftMask", "COVID/images/b.png"]
    assert all("`lungseg data import`, which joins" in row.remedy for row in rows)


def test_several_masks_for_one_radiograph_are_all_listed(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/b.png", "COVID/masks/b.png", "COVID/images/a.tif")
    touch(tmp_path, "COVID/masks/a.jpg", "COVID/masks/a.PNG", "COVID/masks/A.gif")

    refused = list_dataset(tmp_path).refused

    assert [one.path for one in refused] == [
        "COVID/images/a.tif",
        "COVID/masks/a.PNG",
        "COVID/masks/a.jpg",
    ]
    assert "COVID/masks/A.gif" in refused[0].found


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_link_inside(path: Path) -> None:
    path.symlink_to(path.with_name("good.png"))


def make_false_object(path: Path) -> None:
    """Named as DVC names its objects, but a link to another place."""
    target = path.parents[3] / "files/md5/ab" / ("0" * 30)
    target.parent.mkdir(parents=True)
    target.symlink_to("/etc/passwd")
    path.symlink_to(target)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "name", "found"),
    [
        (make_link, "x.png", "a link to /etc/passwd"),
        (make_link_inside, "x.png", "a link to"),
        (make_false_object, "x.png", "a link to"),
        (make_pipe, "x.png", "neither a file nor a folder"),
        (make_folder, "x.png", "a folder, expected a PNG file"),
        (Path.touch, "x\n.png", "control or undecodable characters"),
        (Path.touch, os.fsdecode(b"x\xff.png"), "control or undecodable characters"),
        (Path.touch, f"{'x' * 197}.png", "a name of 201 bytes, expected at most 200"),
    ],
)
def test_what_must_not_be_opened_is_one_row_and_its_other_half_none(
    tmp_path: Path, make: Callable[[Path], None], name: str, found: str
) -> None:
    root = tmp_path / "data"
    touch(root, "COVID/images/good.png", "COVID/masks/good.png", f"COVID/masks/{name}")
    make(root / "COVID/images" / name)

    listing = list_dataset(root)

    assert listing.pairs == [Pair("COVID", "good")]
    (row,) = listing.refused
    assert row.reason == "path"
    assert row.path.startswith("COVID/images/")
    assert found in row.found
    assert all(text.isprintable() for text in vars(row).values())


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/images/a.png", "elsewhere/masks/a.png")
    touch(tmp_path, "data/Normal/images/b.png", "data/Normal/masks/b.png", "data/X/images/c.png")
    (tmp_path / "data/COVID").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/X/masks").symlink_to(tmp_path / "elsewhere/masks")

    listing = list_dataset(tmp_path / "data")

    assert listing.pairs == [Pair("Normal", "b")]
    assert [(one.path, one.reason) for one in listing.refused] == [
        ("COVID", "path"),
        ("X/masks", "path"),
        ("X/images/c.png", "unpaired"),
    ]


def test_files_that_dvc_linked_into_its_cache_are_read(tmp_path: Path) -> None:
    for half, digest in (("images", "0" * 30), ("masks", "1" * 30)):
        touch(tmp_path, f"cache/files/md5/ab/{digest}")
        link = tmp_path / "data/COVID" / half / "a.png"
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "cache/files/md5/ab" / digest)

    listing = list_dataset(tmp_path / "data")

    assert listing == Listing([Pair("COVID", "a")], [])


def test_sheets_that_must_not_be_opened_are_listed_and_refused(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID.metadata.xlsx", "notes.xlsx")
    touch(tmp_path, "A.metadata.old/images/a.png", "A.metadata.old/masks/a.png")
    os.mkfifo(tmp_path / "Normal.metadata.xlsx")
    (tmp_path / "Other.metadata.xlsx").symlink_to("/etc/passwd")
    (tmp_path / "Other.conventions.csv").symlink_to("/nowhere")

    sheets = list_sheets(tmp_path)

    names = ["COVID.metadata.xlsx", "Normal.metadata.xlsx", "Other.metadata.xlsx"]
    assert [sheet.name for sheet in sheets] == names
    assert [path.name for path in list_convention_files(tmp_path)] == ["Other.conventions.csv"]
    assert list_dataset(tmp_path).refused == []
    refuse_unsafe(sheets[0])
    said = f"{sheets[2]}: a link to /etc/passwd; put the file itself in its place"
    with pytest.raises(DatasetError, match=f"^{said}$"):
        refuse_unsafe(sheets[2])


@pytest.mark.parametrize(
    ("message", "found", "remedy"),
    [
        ("found 3; 4 expected; mend it", "found 3; 4 expected", "mend it"),
        ("found\n3", "found\\n3", "replace or remove it"),
    ],
)
def test_what_to_do_is_the_end_of_a_message(message: str, found: str, remedy: str) -> None:
    row = Quarantined.of_message("COVID/a", "COVID/images/a.png", "mode", message)

    assert (row.found, row.remedy) == (found, remedy)


def test_what_desktops_leave_is_no_part_of_the_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID/images/Thumbs.db")
    touch(tmp_path, "COVID/masks/thumbs.db", "COVID/Desktop.ini")
    touch(tmp_path, "COVID/images/._a.png", "COVID/masks/.DS_Store", ".cache/images/x.png")
    touch(tmp_path, "__MACOSX/images/a.png")

    listing = list_dataset(tmp_path)

    assert listing.pairs == [Pair("COVID", "a")]
    assert listing.refused == []


def test_only_folders_with_images_or_masks_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "B/images/a.png", "A/masks/a.png", "notes/a.txt", "images.txt")

    assert [folder.name for folder in class_folders(tmp_path)] == ["A", "B"]


def test_a_missing_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="data: no such folder; pull the data with `dvc pull"):
        list_dataset(tmp_path / "data")


def test_a_dataset_without_pairs_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png")

    with pytest.raises(
        DatasetError, match=r"found no pairs, expected <class>/images.*a.png: radio"
    ):
        list_dataset(tmp_path)
