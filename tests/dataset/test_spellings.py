from __future__ import annotations

import pytest

from pipeline.dataset.spellings import (
    FolderRole,
    Side,
    role_of_folder,
    side_of_folder,
    stems_of_radiograph,
)


@pytest.mark.parametrize(
    "name", ["images", "Images", "IMAGES", "image", "Img", "imgs", "radiographs", "CXR", "xrays"]
)
def test_folders_of_radiographs_are_told(name: str) -> None:
    assert role_of_folder(name) == FolderRole(is_mask=False)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("masks", None),
        ("Mask", None),
        ("MASKS", None),
        ("lung masks", None),
        ("lung_mask", None),
        ("LungMasks", None),
        ("ManualMask", None),
        ("segmentation", None),
        ("leftMask", Side.LEFT),
        ("right_masks", Side.RIGHT),
        ("masks-left", Side.LEFT),
        ("Right Lung Masks", Side.RIGHT),
    ],
)
def test_folders_of_masks_are_told_with_their_lung(name: str, side: Side | None) -> None:
    assert role_of_folder(name) == FolderRole(True, side)


@pytest.mark.parametrize(
    "name",
    [
        "infection masks",
        "heart_masks",
        "COVID",
        "images_left",
        "more",
        "lungs",
        "left",
        "",
        "маски",
    ],
)
def test_other_folders_are_not(name: str) -> None:
    assert role_of_folder(name) is None


@pytest.mark.parametrize(
    ("name", "side"),
    [("left", Side.LEFT), ("R", Side.RIGHT), ("rightMask", Side.RIGHT), ("left lung", Side.LEFT)],
)
def test_folders_of_one_lung_are_told(name: str, side: Side) -> None:
    assert side_of_folder(name) is side


@pytest.mark.parametrize("name", ["deep", "left right", "left heart", "masks"])
def test_other_folders_are_of_no_lung(name: str) -> None:
    assert side_of_folder(name) is None


@pytest.mark.parametrize(
    "mask",
    [
        "a-1_mask",
        "a-1-mask",
        "a-1 Mask",
        "a-1.mask",
        "mask_a-1",
        "a-1_lung_mask",
        "a-1_seg",
        "a-1mask",
        "a-1 (mask)",
        "a-1_MASK",
        "a-1Mask",
        "Mask-a-1",
        "a-1_mask_lung",
        "a-1(mask)",
    ],
)
def test_a_mask_may_say_that_it_is_one(mask: str) -> None:
    stems = list(stems_of_radiograph(mask))

    assert stems[0] == (mask, None)
    assert ("a-1", None) in stems


@pytest.mark.parametrize(
    ("mask", "side"),
    [
        ("a_left", Side.LEFT),
        ("a_right_mask", Side.RIGHT),
        ("a_mask_L", Side.LEFT),
        ("a-r", Side.RIGHT),
        ("left_a", Side.LEFT),
        ("a_Right_Lung", Side.RIGHT),
    ],
)
def test_a_mask_may_say_which_lung_it_is(mask: str, side: Side) -> None:
    assert ("a", side) in list(stems_of_radiograph(mask))


@pytest.mark.parametrize(
    "stem", ["a", "mask", "masked", "a_maskless", "left", "1", "lungs-", "_mask"]
)
def test_other_names_have_one_stem(stem: str) -> None:
    assert list(stems_of_radiograph(stem)) == [(stem, None)]


def test_the_accents_of_a_mac_are_no_other_letters() -> None:
    assert next(stems_of_radiograph("e\u0301")) == ("\u00e9", None)
