from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.evaluation.perturbations import GRADES, PERTURBATIONS
from pipeline.evaluation.robustness import (
    agreement,
    change_radiograph,
    choose_radiographs,
    robustness_table,
    twin_changes,
)
from pipeline.evaluation.scores import confusion, score
from pipeline.evaluation.scoring import Answer
from tests.stages.evaluated import StandIn

PAIR_ID = "Normal/1"


@dataclass(frozen=True)
class NamedPair:
    class_name: str
    pixel_sha256: str
    image_path: str = ""
    mask_path: str = ""
    image_sha256: str = ""
    mask_sha256: str = ""
    source: str = ""
    spacing: float = 1.0

    @property
    def image_id(self) -> str:
        return f"{self.class_name}/{self.pixel_sha256}"

    @property
    def group(self) -> str:
        return self.image_id


class Dark(StandIn):
    """Takes dark pixels for lung."""

    def _segment(self, image: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.float32]:
        lung = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) < 125
        return np.asarray(lung, np.float32)


def drawn(width: int = 120) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A radiograph of a height of 120 pixels whose lungs are dark, and its square mask of 90."""
    image = np.full((120, 120), 190, np.uint8)
    cv2.ellipse(image, (40, 60), (14, 34), 0, 0, 360, 60, cv2.FILLED)
    cv2.ellipse(image, (82, 60), (14, 30), 0, 0, 360, 60, cv2.FILLED)
    image = np.asarray(cv2.resize(image, (width, 120), interpolation=cv2.INTER_LINEAR))
    small = cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA)
    return image, (small < 125).astype(np.uint8)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_change_grows_with_its_grade_and_is_the_same_each_time(name: str) -> None:
    image, mask = drawn()

    changed = [PERTURBATIONS[name].apply(image, mask, grade)[0] for grade in GRADES]

    apart = [np.abs(one.astype(float) - image).mean() for one in changed]
    assert 0 < apart[0] < apart[1] < apart[2]
    assert np.array_equal(changed[2], PERTURBATIONS[name].apply(image, mask, 3)[0])


@pytest.mark.parametrize("width", [80, 120, 180])
@pytest.mark.parametrize("name", ["rotation", "shift", "crop"])
def test_a_moved_radiograph_takes_its_mask_along(name: str, width: int) -> None:
    image, mask = drawn(width)

    moved, truth = PERTURBATIONS[name].apply(image, mask, 2)

    # What comes in from beyond the picture is black too, but lies far from the lungs.
    found = cv2.resize(moved, (90, 90), interpolation=cv2.INTER_AREA)
    lungs = ((found < 125) & (cv2.dilate(truth, np.ones((7, 7), np.uint8)) > 0)).astype(np.uint8)
    assert score(confusion(lungs, truth)).dice > 0.95
    assert score(confusion(truth, mask)).dice < 0.95


def test_grey_values_change_without_the_mask() -> None:
    image, mask = drawn()

    for name in ("exposure", "gamma", "noise", "blur", "resolution"):
        assert PERTURBATIONS[name].apply(image, mask, 3)[1] is mask


@pytest.mark.parametrize("width", [80, 120, 240])
def test_a_network_that_always_answers_the_same_way_is_stable(width: int) -> None:
    image, mask = drawn(width)
    padded = cv2.copyMakeBorder(image[8:-8, 8:-8], 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=190)

    assert agreement(Dark(), padded, mask.shape, 0.5, PAIR_ID) > 0.975
    assert agreement(StandIn(), image, mask.shape, 0.5, PAIR_ID) < 0.9  # moves with the grey


def test_every_change_of_a_radiograph_has_a_row_and_one_is_the_twin() -> None:
    image, mask = drawn()
    pair = NamedPair("Normal", "1")
    answer = Answer(image, mask, mask.astype(np.float32), mask)

    table = robustness_table(change_radiograph(Dark(), pair, answer, 0.5))

    assert len(table) == 1 + len(PERTURBATIONS) * len(GRADES) + 1
    assert table["twin"].tolist()[-2:] == [0, 1]
    assert table["perturbation"].iloc[-1] == ", ".join(twin_changes(pair.image_id))
    assert table["tta_dice"].notna().sum() == 2
    assert table.iloc[0][["perturbation", "grade", "dice"]].tolist() == ["none", 0, 1]
    assert table["dice"].between(0, 1).all()


def test_radiographs_are_chosen_from_the_classes_in_turn() -> None:
    pairs = [NamedPair("A", str(n)) for n in range(8)] + [NamedPair("B", "0")]

    assert choose_radiographs(pairs, 4) == {"A/0", "B/0", "A/1", "A/2"}
    assert len(choose_radiographs(pairs, 99)) == 9
    assert choose_radiographs(pairs, 0) == set()
    assert choose_radiographs(pairs[::-1], 4) == choose_radiographs(pairs, 4)
