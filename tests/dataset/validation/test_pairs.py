from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import Pair, Quarantined, list_dataset
from pipeline.dataset.synthetic.phantom import radiograph, write_dataset
from pipeline.dataset.validation import whole
from pipeline.dataset.validation.medial_borders import measure_borders
from pipeline.dataset.validation.pairs import GoodPair, inspect_pair
from pipeline.errors import CrashedError
from pipeline.files import sha256_file
from pipeline.params import Params
from tests.test_worker_pool import end_at_once

PAIR = Pair("COVID", "a")


def inspect_mask(root: Path, mask: NDArray[np.uint8]) -> GoodPair | Quarantined:
    image, _ = radiograph(seed=1, index=1, class_name="COVID")
    for path, pixels in ((PAIR.image, image), (PAIR.mask, mask * 255)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)
    return inspect_pair(root, PAIR)


def box(top: int, bottom: int, left: int, right: int) -> NDArray[np.uint8]:
    mask = np.zeros((256, 256), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def test_a_good_pair_is_a_row_and_a_thumbnail(tmp_path: Path, params: Params) -> None:
    write_dataset(tmp_path / "data", pairs=4, seed=3, workers=1)
    pair = list_dataset(tmp_path / "data").pairs[0]

    found = inspect_pair(tmp_path / "data", pair, params.validate_)

    assert isinstance(found, GoodPair)
    image, mask = radiograph(seed=3, index=1, class_name=pair.class_name)
    assert found.row.mean == pytest.approx(image.mean())
    assert found.row.std == pytest.approx(image.std())
    assert found.row.lung_area == pytest.approx(mask.mean())
    assert found.row.mask_sha256 == sha256_file(tmp_path / "data" / pair.mask)
    assert (found.row.width, found.row.mask_height) == (299, 256)
    assert (found.row.medial_left, found.row.medial_right) == measure_borders(mask)
    assert len(found.row.medial_left.split()) == 10
    assert found.thumbnail.shape == (32, 32)


def test_labels_that_were_taken_for_lung_are_kept(tmp_path: Path) -> None:
    usual = inspect_mask(tmp_path, box(60, 200, 40, 220))
    # Times 255 they are 255 and 254.
    labels = inspect_mask(tmp_path, box(60, 200, 40, 110) + box(60, 200, 150, 220) * np.uint8(2))

    assert isinstance(usual, GoodPair)
    assert usual.row.mask_labels == ""
    assert isinstance(labels, GoodPair)
    assert labels.row.mask_labels == "254 255"


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(box(60, 200, 40, 220), id="in the middle"),
        pytest.param(box(0, 200, 0, 110), id="reaching two edges"),
        pytest.param(box(0, 256, 20, 236), id="from top to bottom"),
    ],
)
def test_an_inverted_mask_is_told_from_a_right_one(tmp_path: Path, mask: NDArray[np.uint8]) -> None:
    assert isinstance(inspect_mask(tmp_path, mask), GoodPair)

    inverted = inspect_mask(tmp_path, 1 - mask)

    assert isinstance(inverted, Quarantined)
    assert inverted.reason == "mask_inverted"
    assert inverted.remedy == "swap black and white"


def test_a_lung_over_all_of_a_small_picture_is_not_called_inverted(tmp_path: Path) -> None:
    """A crop to the lungs: they reach the border, and still the middle holds more of them."""
    assert isinstance(inspect_mask(tmp_path, box(0, 250, 0, 250)), GoodPair)


@pytest.mark.parametrize("folder", ["COVID-19_Radiography_Dataset", "increment_COVID"])
def test_no_real_mask_is_taken_for_inverted_and_every_inverted_one_is(
    real_data: Path, tmp_path: Path, folder: str
) -> None:
    root = real_data / folder
    pairs = list_dataset(root).pairs[::10]
    masks = [np.asarray(Image.open(root / pair.mask).convert("L")) // 255 for pair in pairs]

    assert {type(inspect_pair(root, pair)) for pair in pairs} == {GoodPair}
    for mask in masks:
        found = inspect_mask(tmp_path, 1 - mask)
        assert isinstance(found, Quarantined)
        assert found.reason == "mask_inverted"


def test_a_killed_worker_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_mask(tmp_path, box(20, 200, 30, 200))
    monkeypatch.setattr(whole, "inspect_pair", end_at_once)

    with pytest.raises(CrashedError, match=r"^validate: one of 1 worker processes was killed"):
        whole.inspect_dataset(tmp_path)
