from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.layout import Pair, class_folders, list_dataset
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
    assert listing.unpaired == []
    assert listing.pairs[2].image == Path("Viral Pneumonia/images/b.png")
    assert listing.pairs[2].mask == Path("Viral Pneumonia/masks/b.png")


def test_files_without_their_other_half_are_listed_apart(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID/images/b.png")
    touch(tmp_path, "COVID/masks/c.png", "COVID/images/d.jpg", "COVID/masks/d.jpg")
    touch(tmp_path, "Normal/images/e.png")

    listing = list_dataset(tmp_path)

    assert listing.pairs == [Pair("COVID", "a")]
    assert {path.as_posix() for path in listing.unpaired} == {
        "COVID/images/b.png",
        "COVID/masks/c.png",
        "COVID/images/d.jpg",
        "COVID/masks/d.jpg",
        "Normal/images/e.png",
    }


def test_what_desktops_leave_is_no_part_of_the_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png", "COVID/masks/a.png", "COVID/images/Thumbs.db")
    touch(tmp_path, "COVID/images/._a.png", "COVID/masks/.DS_Store", ".cache/images/x.png")
    touch(tmp_path, "__MACOSX/images/a.png")

    listing = list_dataset(tmp_path)

    assert listing.pairs == [Pair("COVID", "a")]
    assert listing.unpaired == []


def test_only_folders_with_images_or_masks_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "B/images/a.png", "A/masks/a.png", "notes/a.txt", "images.txt")

    assert [folder.name for folder in class_folders(tmp_path)] == ["A", "B"]


def test_a_missing_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="data: no such folder; pull the data with `dvc pull"):
        list_dataset(tmp_path / "data")


def test_a_dataset_without_pairs_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "COVID/images/a.png")

    with pytest.raises(DatasetError, match="found no pairs, expected <class>/images"):
        list_dataset(tmp_path)
