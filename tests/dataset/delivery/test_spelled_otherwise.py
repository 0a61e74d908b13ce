"""Deliveries of other spellings: taken for what they are, or refused with the command to mend."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset.delivery.listing import DeliveryListing, list_delivery
from pipeline.dataset.delivery.pairing import DeliveredPair
from pipeline.dataset.delivery.staging import Folders, place_pair
from pipeline.dataset.layout import Pair
from pipeline.errors import DatasetError
from pipeline.radiograph.reading import read_mask
from tests.dataset.delivery.deliveries import Deliver, refusal, write_pair


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs_of(listing: DeliveryListing) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (one.pair.image_id, one.image.as_posix(), tuple(path.as_posix() for path in one.masks))
        for one in listing.pairs
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a_mask.png"),
        ("images/a.png", "masks/a-mask.png"),
        ("images/a.PNG", "masks/a.Png"),
        ("Images/a.png", "Masks/a.png"),
        ("image/a.png", "mask/mask_a.png"),
        ("images/a.png", "lung masks/a.png"),
        ("images/a.png", "ManualMask/a Mask.PNG"),
        ("images/a.png", "masks/a_lung_mask.png"),
    ],
)
def test_other_spellings_are_one_pair(tmp_path: Path, image: str, mask: str) -> None:
    found = list_delivery(touch(tmp_path, f"COVID/{image}", f"COVID/{mask}"))

    assert found.problems == []
    assert pairs_of(found) == [("COVID/a", f"COVID/{image}", (f"COVID/{mask}",))]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("masks/a_left.png", "masks/a_right.png"),
        ("masks/a_mask_l.png", "masks/a_mask_r.png"),
        ("masks/left/a.png", "masks/right/a.png"),
        ("leftMask/a.png", "rightMask/a.png"),
        ("ManualMask/leftMask/a.png", "ManualMask/rightMask/a.png"),
        ("masks/left/a_left.png", "masks/right/a_right.PNG"),
    ],
)
def test_a_mask_for_each_lung_is_one_pair(tmp_path: Path, left: str, right: str) -> None:
    found = list_delivery(touch(tmp_path, "COVID/images/a.png", f"COVID/{left}", f"COVID/{right}"))

    assert found.problems == []
    assert pairs_of(found) == [
        ("COVID/a", "COVID/images/a.png", (f"COVID/{left}", f"COVID/{right}"))
    ]


def test_names_that_only_look_like_those_of_masks_are_names(tmp_path: Path) -> None:
    names = ("a.png", "a_l.png", "a_mask.png")
    folders = ("COVID/images", "COVID/masks")

    found = list_delivery(
        touch(tmp_path, *(f"{half}/{name}" for half in folders for name in names))
    )

    assert found.problems == []
    assert [one.pair.name for one in found.pairs] == ["a", "a_l", "a_mask"]


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (
            ["masks/a.png", "masks/a_mask.png"],
            "images/a.png: has 2 masks, COVID/masks/a.png, COVID/m",
        ),
        (
            ["masks/a_left.png"],
            "images/a.png: has the mask of one lung alone, COVID/masks/a_left.png",
        ),
        (["masks/a_left.png", "masks/a_l.png"], "images/a.png: has 2 masks"),
        (["masks/a_left.png", "masks/a_right.png", "masks/a.png"], "images/a.png: has 3 masks"),
        (["masks/a.png", "mask/a.png"], "masks: holds masks as COVID/mask does; keep one, or `mv"),
        (["masks/a.png", "leftMask/a.png"], "masks: holds masks as COVID/leftMask does"),
        (["masks/b_mask.png"], "masks/b_mask.png: has no radiograph"),
    ],
)
def test_what_stays_ambiguous_is_a_problem(tmp_path: Path, masks: list[str], said: str) -> None:
    touch(tmp_path, "COVID/images/a.png", *(f"COVID/{mask}" for mask in masks))

    found = list_delivery(tmp_path)

    assert said in "; ".join(found.problems)
    assert found.pairs == []


def command_of(message: str) -> str:
    """The one command of a refusal."""
    (command,) = re.findall(r"`([^`]+)`", message)
    return command


@pytest.mark.parametrize(
    "names",
    [
        ["COVID/images/COVID-1.png", "COVID/masks/covid-1.png"],
        ["COVID/images/COVID-1.png", "COVID/masks/covid-1_mask.png"],
        ["COVID/images/a.png", "COVID/masks/a_left.png"],
        ["COVID/images/a.png", "COVID/outlines/a.png"],
        ["COVID/pictures of lungs/a.png", "COVID/masks/a.png"],
        ["A B/a.png", "A B/a_mask.png", "A B/b 1.PNG", "A B/b 1_Mask.PNG"],
        ["images/Viral Pneumonia/a.png", "masks/Viral Pneumonia/a.png"],
        ["set/Images/A B/a.png", "set/mask/A B/a.png", "set/Images/C/a.png", "set/mask/C/a.png"],
    ],
)
def test_the_command_of_a_refusal_mends_the_delivery(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    try:
        problems = list_delivery(tmp_path).problems
    except DatasetError as error:
        problems = [str(error)]
        assert problems[0].endswith(" (the command is for that folder, unpacked)")
    command = command_of("; ".join(problem for problem in problems if "`" in problem))

    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, check=True)

    found = list_delivery(tmp_path)
    assert found.problems == []
    assert len(found.pairs) == len(names) // 2


def test_a_folder_around_an_archive_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "set/README.md", "set/Archive.ZIP")

    with pytest.raises(DatasetError, match=r"it holds Archive.ZIP, import that by itself as a zip"):
        list_delivery(tmp_path)


def test_a_refusal_says_where_its_commands_are_meant(deliver: Deliver, project: Path) -> None:
    source = deliver("COVID")
    (source / "COVID/masks").rename(source / "COVID/outlines")

    message = refusal(source, project)

    assert f"(commands are for {source})" in message
    assert "if these are the masks, `mv -n COVID/outlines COVID/masks`" in message


def test_a_command_for_the_project_is_not_said_to_be_for_the_delivery(
    deliver: Deliver, project: Path
) -> None:
    source = deliver("COVID")
    write_pair(source, "COVID", "COVID-9", seed=9)
    name = next((source / "COVID/images").iterdir()).stem
    (source / "COVID.metadata.csv").write_text(f"FILE,CONVENTION\n{name},wide\n")

    message = refusal(source, project)

    assert "`lungseg data convention NAME PAIR`" in message
    assert "commands are for" not in message


def test_names_that_a_packer_left_in_a_code_page_say_what_to_do(
    deliver: Deliver, project: Path
) -> None:
    source = deliver("COVID")
    write_pair(source, os.fsdecode("Норма".encode("cp866")), "a", seed=1)

    assert "import the zip itself, or for names of a Russian Windows, `convmv" in refusal(
        source, project
    )


def pair_with_two_masks(root: Path, second_side: int = 256) -> DeliveredPair:
    write_pair(root, "COVID", "a", seed=1)
    for side, size in (("left", 256), ("right", second_side)):
        mask = np.zeros((size, size), np.uint8)
        mask[20:200, slice(10, 90) if side == "left" else slice(150, 220)] = 255
        Image.fromarray(mask).save(root / f"COVID/masks/a_{side}.png")
    masks = (Path("COVID/masks/a_left.png"), Path("COVID/masks/a_right.png"))
    return DeliveredPair(Pair("COVID", "a"), Path("COVID/images/a.png"), masks)


@pytest.mark.parametrize("move", [True, False])
def test_two_masks_are_placed_as_one(tmp_path: Path, move: bool) -> None:
    delivered = pair_with_two_masks(tmp_path / "delivery")
    expected = sum(read_mask(tmp_path / "delivery" / path).astype(int) for path in delivered.masks)
    folders = Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", move)

    placed = place_pair(delivered, folders)

    assert placed.problems == ()
    assert not placed.has_labels
    np.testing.assert_array_equal(read_mask(tmp_path / "stage/COVID/masks/a.png"), expected)


def test_two_masks_that_data_holds_joined_are_skipped(tmp_path: Path) -> None:
    delivered = pair_with_two_masks(tmp_path / "delivery")
    place_pair(delivered, Folders(tmp_path / "delivery", tmp_path / "no", tmp_path / "data", False))
    folders = Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", False)

    assert place_pair(delivered, folders).skipped
    (tmp_path / "data/COVID/masks/a.png").write_bytes(
        (tmp_path / "delivery/COVID/masks/a_left.png").read_bytes()
    )
    assert "data/ holds another file of this name" in place_pair(delivered, folders).problems[0]


def test_two_masks_that_cannot_be_joined_are_a_problem(tmp_path: Path) -> None:
    delivered = pair_with_two_masks(tmp_path / "delivery", second_side=128)
    folders = Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", False)

    (size,) = place_pair(delivered, folders).problems
    (tmp_path / "delivery/COVID/masks/a_left.png").write_bytes(b"")
    (empty,) = place_pair(delivered, folders).problems

    assert size.startswith(
        "COVID/masks/a_right.png: size 128x128, expected 256x256 as that of COVID"
    )
    assert empty.startswith("COVID/masks/a_left.png: file is empty")


def test_a_problem_names_the_file_as_it_was_delivered(tmp_path: Path) -> None:
    write_pair(tmp_path / "delivery", "COVID", "a", seed=1)
    (tmp_path / "delivery/COVID/masks/a.png").rename(tmp_path / "delivery/COVID/masks/a_mask.png")
    (tmp_path / "delivery/COVID/masks/a_mask.png").write_bytes(b"BM" + bytes(90))
    (delivered,) = list_delivery(tmp_path / "delivery").pairs
    folders = Folders(tmp_path / "delivery", tmp_path / "data", tmp_path / "stage", False)

    (problem,) = place_pair(delivered, folders).problems

    assert problem.startswith("COVID/masks/a_mask.png: found a BMP picture, no PNG content")
