from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ParamsError
from pipeline.params_file import check_params, load_params, override, read_yaml
from pipeline.transforms import NAMES
from tests.conftest import PROJECT

SHIPPED = PROJECT / "params.yaml"

ROTATE = {"name": "Rotate", "limit": [-5, 5], "p": 1}
AFFINE = {
    "name": "Affine",
    "scale": [0.9, 1.1],
    "rotate": [-10, 10],
    "translate_percent": [-0.05, 0.05],
    "p": 0.5,
}


def refusal(*transforms: Any) -> str:
    content = read_yaml(SHIPPED)
    content["augment"]["transforms"] = list(transforms)
    with pytest.raises(ParamsError) as caught:
        check_params(content, SHIPPED)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(transform: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in transform.items() if name != key}


@pytest.mark.parametrize(
    "found",
    [
        {"name": "VerticalFlip", "p": 1},
        {"name": ["Rotate"], "p": 1},
        {"p": 1},
        "Rotate",
        None,
        3,
    ],
)
def test_what_is_no_listed_transform_is_refused_with_the_names_of_all(found: Any) -> None:
    message = refusal(ROTATE, found)

    assert f"augment.transforms.1: found {found!r}; expected a transform whose name is" in message
    assert ", ".join(NAMES) in message


def test_an_unknown_argument_is_refused_with_the_known_ones() -> None:
    message = refusal(AFFINE | {"sheer": 3})

    assert "no argument sheer, expected only aspect, p, rotate, scale, translate_percent" in message


@pytest.mark.parametrize("argument", ["scale", "rotate", "translate_percent", "p"])
def test_a_missing_argument_is_named(argument: str) -> None:
    said = f"augment.transforms.0.Affine.{argument}: missing, add it"
    assert said in refusal(without(AFFINE, argument))


@pytest.mark.parametrize(
    "found",
    [
        5,
        "5",
        None,
        [5],
        [-5, 0, 5],
        [5, -5],
        [-31, 0],
        [0, 31],
        [float("nan"), 5],
        [-5, float("inf")],
        ["-5", "5"],
        [False, True],
    ],
)
def test_a_range_that_is_none_or_too_wide_is_refused(found: Any) -> None:
    said = f"Rotate.limit: found {found!r}; expected [least, most] between -30 and 30"
    assert said in refusal(ROTATE | {"limit": found})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"p": 1.1}, "Rotate.p: found 1.1"),
        ({"p": -0.1}, "Rotate.p: found -0.1"),
        ({"p": float("nan")}, "Rotate.p: found nan"),
        ({"p": "1"}, "Rotate.p: found '1'"),
        ({"p": True}, "Rotate.p: found True"),
    ],
)
def test_a_probability_is_a_number_from_0_to_1(changes: dict[str, Any], said: str) -> None:
    assert f"augment.transforms.0.{said}" in refusal(ROTATE | changes)


def test_numbers_of_tiles_are_whole() -> None:
    tiles = {"name": "CLAHE", "clip_limit": [1, 2], "tile_grid_size": [8, 8.5], "p": 1}

    assert "augment.transforms.0.CLAHE.tile_grid_size.1: found 8.5" in refusal(tiles)


def test_numbers_of_rectangles_are_whole() -> None:
    share = [0.1, 0.2]
    holes = {"num_holes_range": [1, 2.5], "hole_height_range": share, "hole_width_range": share}

    said = refusal({"name": "CoarseDropout", "p": 1, **holes})

    assert "augment.transforms.0.CoarseDropout.num_holes_range.1: found 2.5" in said


def test_the_list_is_overridden_as_a_whole_and_other_keys_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(SHIPPED.read_bytes())

    override(
        path,
        ["augment.transforms=[{name: Rotate, limit: [-5, 5], p: 0.5}]", "augment.copies=3"],
    )

    found = load_params(path).augment
    assert [transform.model_dump() for transform in found.transforms] == [ROTATE | {"p": 0.5}]
    assert (found.copies, found.seed) == (3, load_params(SHIPPED).augment.seed)


def test_no_transforms_are_needed_where_no_copies_are_made() -> None:
    content = read_yaml(SHIPPED)
    content["augment"] |= {"copies": 0, "transforms": []}

    assert check_params(content, SHIPPED).augment.transforms == []
