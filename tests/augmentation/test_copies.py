from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import BeforeValidator

from pipeline.augmentation.copies import MAX_DRAWS, Copier, Original
from pipeline.errors import StageError
from pipeline.params import AugmentParams
from pipeline.params_file import load_params
from pipeline.transforms import Listed, Within
from tests.conftest import PROJECT, draw_pair

SIDE = 64
CLASSES = Listed.__args__


def params(*transforms: dict[str, Any], seed: int = 7, side: int = SIDE) -> AugmentParams:
    return AugmentParams(
        seed=seed,
        image_size=side,
        copies=1,
        fresh=False,
        transforms=list(transforms),
        workers=1,
    )


def affine(**changes: Any) -> dict[str, Any]:
    still = {"scale": [1, 1], "rotate": [0, 0], "translate_percent": [0, 0]}
    return {"name": "Affine", "p": 1, **still, **changes}


def pair(seed: int = 1, side: int = SIDE) -> Original:
    image, mask = draw_pair(seed, side)
    return Original.of("A/1", np.array(image), np.array(mask.convert("L")))


def with_mask(*areas: tuple[slice, slice]) -> Original:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for area in areas:
        mask[area] = 255
    return Original.of("A/1", np.full((SIDE, SIDE), 100, np.uint8), mask)


def argument(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Values of one argument of a transform, over all that its bounds allow."""
    (within,) = [m.func for m in metadata if isinstance(m, BeforeValidator)]
    assert isinstance(within, Within)
    low, high = within.low, within.high
    number = st.integers(int(low), int(high)) if annotation == list[int] else st.floats(low, high)
    return st.lists(number, min_size=2, max_size=2).map(sorted)


def arguments(transform: Any) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: argument(found.annotation, found.metadata)
        for name, found in transform.model_fields.items()
        if name not in ("name", "p", "num_steps")
    }
    if "num_steps" in transform.model_fields:
        fields["num_steps"] = st.integers(2, 10)
    name = transform.__name__
    return st.fixed_dictionaries({"name": st.just(name), "p": st.just(1.0), **fields})


any_transform = st.sampled_from(CLASSES).flatmap(arguments)


@settings(max_examples=60)
@given(st.lists(any_transform, min_size=1, max_size=4), st.sampled_from([32, 33, 64]), st.data())
def test_every_copy_has_a_mask_of_the_right_size_that_keeps_the_lungs(
    transforms: list[dict[str, Any]], side: int, data: st.DataObject
) -> None:
    before = pair(data.draw(st.integers(0, 99)), side)
    copier = Copier(params(*transforms, side=side))
    try:
        copy = copier.draw(before, 1)
    except StageError:  # several strong ones in a row may leave no lungs to learn from
        reject()

    assert (copy.image.shape, copy.image.dtype) == ((side, side), np.uint8)
    assert (copy.mask.shape, copy.mask.dtype) == ((side, side), np.uint8)
    assert copy.mask.sum(dtype=int) >= 0.5 * before.lungs.sum(dtype=int)


@pytest.mark.parametrize("transform", CLASSES, ids=lambda transform: transform.__name__)
@settings(max_examples=5)
@given(st.data())
def test_every_listed_transform_changes_the_picture_and_says_so(
    transform: Any, data: st.DataObject
) -> None:
    copier = Copier(params(data.draw(arguments(transform))), keep_applied=True)

    copy = copier.draw(pair(), 1)

    assert [name.removeprefix("Stretched") for name, _ in copy.applied] == [transform.__name__]


def test_a_pixel_that_the_border_of_a_lung_crosses_keeps_its_share() -> None:
    copy = Copier(params(affine(scale=[0.9, 0.9]))).draw(with_mask(CENTRE), 1)

    row = copy.mask[32]
    assert ((row > 0) & (row < 255)).any()
    assert copy.mask.sum(dtype=int) / 255 == pytest.approx((0.9 * 22) ** 2, rel=0.01)


CORNER = (slice(0, 14), slice(0, 14))
CENTRE = (slice(22, 44), slice(22, 44))
ACROSS = (slice(10, 54), slice(0, 20))


@pytest.mark.parametrize(
    ("areas", "fault"),
    [
        pytest.param([CORNER, CENTRE], "lung_missing", id="the smaller of two lungs"),
        pytest.param([CORNER], "lung_missing", id="the only lung"),
        pytest.param([ACROSS], "lungs_lost", id="most of a lung"),
    ],
)
def test_copies_that_always_lose_lungs_stop_with_the_parameter_to_change(
    areas: list[tuple[slice, slice]], fault: str
) -> None:
    away = affine(translate_percent=[-0.2, -0.2])
    copier = Copier(params({"name": "HorizontalFlip", "p": 0}, away))

    with pytest.raises(StageError) as caught:
        copier.draw(with_mask(*areas), 1)

    assert str(caught.value) == (
        f"A/1: found no copy among {MAX_DRAWS} that keeps the lungs in the frame "
        f"({fault} {MAX_DRAWS}); narrow Affine in augment.transforms"
    )


def test_a_copy_that_loses_a_lung_is_drawn_again_and_counted() -> None:
    copier = Copier(params(affine(translate_percent=[-0.25, 0.25])))
    before = with_mask(CORNER, CENTRE)

    copies = [copier.draw(before, number) for number in range(20)]

    assert copier.redrawn["lung_missing"] > 0
    assert set(copier.redrawn) <= {"lung_missing", "lungs_lost"}
    assert min(copy.mask.sum(dtype=int) for copy in copies) / 255 >= 22 * 22 + 14 * 14 / 4 - 22


def test_a_speck_of_the_mask_is_no_lung_to_be_kept() -> None:
    copier = Copier(params(affine(translate_percent=[-0.2, -0.2])))

    copy = copier.draw(with_mask((slice(0, 4), slice(0, 4)), CENTRE), 1)

    assert copy.mask.sum(dtype=int) / 255 == pytest.approx(22 * 22, rel=0.001)


def test_lungs_are_told_apart_by_their_size() -> None:
    specks = [(slice(60, 62), slice(column, column + 2)) for column in (2, 20, 50)]

    found = with_mask(CORNER, CENTRE, *specks)

    assert (found.areas / 255).tolist() == [484 + 12, 196]
    assert found.lungs[CORNER].sum((0, 1), dtype=int).tolist() == [0, 196 * 255]
    assert found.lungs[CENTRE].sum((0, 1), dtype=int).tolist() == [484 * 255, 0]


def test_what_is_lung_in_part_belongs_to_the_lung_beside_it() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[CORNER] = mask[CENTRE] = 255
    mask[13, :14] = 100

    found = Original.of("A/1", mask, mask)

    assert found.lungs[13, :14].tolist() == [[0, 100]] * 14


def test_image_and_mask_move_together() -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[CENTRE] = 200
    before = Original.of("A/1", image, np.where(image > 0, np.uint8(255), np.uint8(0)))
    copier = Copier(params(affine(rotate=[-20, 20], translate_percent=[-0.1, 0.1])))

    copy = copier.draw(before, 1)

    assert ((copy.mask > 127) != (image > 0)).any()
    assert ((copy.image > 100) != (copy.mask > 127)).mean() < 0.005


def test_what_a_rectangle_hides_is_still_lung() -> None:
    holes = {"hole_height_range": [0.25, 0.25], "hole_width_range": [0.5, 0.5]}
    transform = {"name": "CoarseDropout", "p": 1, "num_holes_range": [1, 1], **holes}
    before = with_mask(CENTRE)

    copier = Copier(params(transform))
    greys = set()
    for number in range(1, 6):
        copy = copier.draw(before, number)

        rows, columns = np.nonzero(copy.image != before.image)
        assert len(rows) == SIDE // 4 * SIDE // 2
        assert (np.ptp(rows), np.ptp(columns)) == (SIDE // 4 - 1, SIDE // 2 - 1)
        assert (copy.mask == before.lungs.max(axis=-1)).all()
        (grey,) = np.unique(copy.image[rows, columns])
        greys.add(grey)
    assert len(greys) == 5


def test_transforms_draw_independently_of_each_other() -> None:
    light = {"name": "RandomBrightnessContrast", "brightness_limit": [0, 0]}
    copier = Copier(
        params(
            {"name": "HorizontalFlip", "p": 0.5},
            {**light, "contrast_limit": [-0.5, 0.5], "p": 1},
            {"name": "RandomGamma", "gamma_limit": [50, 150], "p": 1},
        ),
        keep_applied=True,
    )

    drawn = [dict(copier.draw(pair(), number).applied) for number in range(200)]

    flips = np.array(["HorizontalFlip" in copy for copy in drawn])
    contrasts = np.array([copy["RandomBrightnessContrast"]["alpha"] for copy in drawn])
    gammas = np.array([copy["RandomGamma"]["gamma"] for copy in drawn])
    assert 70 < flips.sum() < 130
    # Three standard errors of no correlation.
    assert np.abs(np.corrcoef([flips, contrasts, gammas])[np.triu_indices(3, 1)]).max() < 0.22


@pytest.mark.parametrize(
    "other",
    [
        lambda: (params(affine(rotate=[-10, 10]), seed=8), pair(), 1),
        lambda: (params(affine(rotate=[-10, 10])), pair(), 2),
        lambda: (
            params(affine(rotate=[-10, 10])),
            Original("A/2", pair().image, pair().lungs, pair().areas),
            1,
        ),
    ],
    ids=["seed", "number", "pair"],
)
def test_a_copy_follows_from_seed_pair_and_number(
    other: Callable[[], tuple[AugmentParams, Original, int]],
) -> None:
    copier = Copier(params(affine(rotate=[-10, 10])))
    first = copier.draw(pair(), 1).image
    copier.draw(pair(2), 5)

    changed, original, number = other()

    assert (copier.draw(pair(), 1).image == first).all()
    assert (Copier(changed).draw(original, number).image != first).any()


def test_the_shipped_transforms_are_recorded_as_albumentations_runs_them() -> None:
    made = Copier(load_params(PROJECT / "params.yaml").augment).serialised()

    flip, moved, light = made.transforms["transforms"]
    assert flip == {"__class_fullname__": "HorizontalFlip", "p": 0.5}
    assert (moved["scale"]["x"], moved["rotate"]) == ((0.9, 1.1), (-10, 10))
    assert moved["translate_percent"]["y"] == (-0.05, 0.05)
    assert (moved["interpolation"], moved["mask_interpolation"], moved["border_mode"]) == (1, 1, 0)
    assert (moved["keep_ratio"], moved["fill"], moved["fill_mask"]) == (True, 0, 0)
    assert (light["brightness_limit"], light["contrast_limit"]) == ((-0.2, 0.2), (-0.2, 0.2))
    assert made.albumentations == "2.0.8"


def test_a_copy_may_be_stretched_beside_its_size() -> None:
    copier = Copier(params(affine(scale=[0.8, 1.2], aspect=[0.88, 1.12])), keep_applied=True)

    drawn = [copier.draw(pair(), number).applied[0][1]["matrix"] for number in range(1, 200)]

    widths, heights = np.array([(matrix[0, 0], matrix[1, 1]) for matrix in drawn]).T
    assert 0.8 <= np.sqrt(widths * heights).min() < 0.85 < 1.15 < np.sqrt(widths * heights).max()
    assert 0.88 <= (widths / heights).min() < 0.9 < 1.1 < (widths / heights).max() <= 1.12
    assert abs(np.corrcoef(widths * heights, widths / heights)[0, 1]) < 0.2


def test_copies_as_strong_as_they_may_be_keep_the_lungs() -> None:
    strong = [
        {"name": "HorizontalFlip", "p": 0.5},
        affine(
            scale=[0.75, 1.25],
            rotate=[-25, 25],
            translate_percent=[-0.12, 0.12],
            aspect=[0.88, 1.12],
        ),
        {
            "name": "RandomBrightnessContrast",
            "brightness_limit": [-0.25, 0.25],
            "contrast_limit": [-0.5, 0.5],
            "p": 1,
        },
        {"name": "RandomGamma", "gamma_limit": [50, 200], "p": 0.5},
        {"name": "GaussNoise", "std_range": [0, 0.06], "p": 0.5},
    ]
    copier = Copier(params(*strong))

    copies = [copier.draw(pair(), number) for number in range(1, 100)]

    assert len({copy.image.tobytes() for copy in copies}) == 99
    assert all(copy.mask.sum() > 0.5 * pair().areas.sum() for copy in copies)
