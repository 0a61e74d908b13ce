from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.splits import similarity
from pipeline.dataset.splits.similarity import HASH_BITS, near_duplicates, perceptual_hash
from pipeline.dataset.synthetic.phantom import radiograph
from pipeline.params import Params
from pipeline.radiograph.grey import Grey

KNOWN = (
    "c71bfffd84187761c381f0efaf87c9bcb9e79b40f194f559ea"
    "67a7b6defe7f0f82fbcde4fcf6406c7efbbcf3d10f66f23fd0"
)
PHANTOMS = [radiograph(5, index, name)[0] for index in range(3) for name in ("COVID", "Normal")]


def differing(first: Grey, second: Grey) -> int:
    one, other = (int(perceptual_hash(image), 16) for image in (first, second))
    return (one ^ other).bit_count()


def as_jpeg(image: Grey) -> Grey:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def shifted(image: Grey) -> Grey:
    matrix = np.float32([[1, 0, 6], [0, 1, 6]])
    size = image.shape[::-1]
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def written_on(image: Grey) -> Grey:
    return cv2.putText(image.copy(), "PORTABLE", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)


SAME_PICTURE: dict[str, Callable[[Grey], Grey]] = {
    "encoded as JPEG": as_jpeg,
    "resized": lambda image: cv2.resize(image, (512, 512)),
    "brighter": lambda image: np.clip(image + 20.0, 0, 255).astype(np.uint8),
    "of less contrast": lambda image: (64 + image * 0.5).astype(np.uint8),
    "of another gamma": lambda image: (255 * (image / 255) ** 0.8).astype(np.uint8),
    "negative": lambda image: 255 - image,
    "shifted by 2 %": shifted,
    "without its uppermost 3 %": lambda image: image[9:],
    "written on": written_on,
}


@pytest.mark.parametrize("change", SAME_PICTURE.values(), ids=SAME_PICTURE.keys())
def test_a_changed_picture_is_a_near_duplicate(
    change: Callable[[Grey], Grey],
    params: Params,
) -> None:
    most = params.split.near_duplicate_distance

    assert [differing(image, change(image)) <= most for image in PHANTOMS] == [True] * len(PHANTOMS)


def test_different_radiographs_are_no_near_duplicates(params: Params) -> None:
    hashes = [perceptual_hash(image) for image in PHANTOMS]

    assert len(near_duplicates(hashes, params.split.near_duplicate_distance)) == 0


def test_the_hash_of_known_pixels_stays_what_it_is() -> None:
    rows, columns = np.mgrid[0:150, 0:130]
    image = ((rows * 7 + columns * columns * 3 + rows * columns) % 251).astype(np.uint8)

    assert perceptual_hash(image) == KNOWN


def test_the_hash_is_lower_case_hexadecimal_of_one_length() -> None:
    hashes = [perceptual_hash(image) for image in (*PHANTOMS, PHANTOMS[0][:200, :100])]

    assert {len(one) for one in hashes} == {100}
    assert all(set(one) <= set("0123456789abcdef") for one in hashes)
    assert 4 * 100 - HASH_BITS == 4
    assert {one[-1] for one in hashes} == {"0"}


def test_an_even_picture_has_a_hash_of_zeros_whatever_its_grey() -> None:
    hashes = {perceptual_hash(np.full((299, 299), grey, np.uint8)) for grey in (0, 7, 100, 255)}

    assert hashes == {"0" * 100}


def brute_force(hashes: list[str], distance: int) -> list[list[int]]:
    return [
        [first, second]
        for first in range(len(hashes))
        for second in range(first + 1, len(hashes))
        if (int(hashes[first], 16) ^ int(hashes[second], 16)).bit_count() <= distance
    ]


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40),
    st.integers(0, 16),
    st.integers(1, 50),
)
def test_the_search_finds_exactly_what_comparing_all_pairs_finds(
    numbers: list[int],
    distance: int,
    block: int,
) -> None:
    hashes = [f"{number:04x}" for number in numbers]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK", block)
        found = near_duplicates(hashes, distance)

    assert found.tolist() == brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [0, 71, 72, 150, 199, 200, 201])
def test_the_search_is_exact_for_whole_hashes(distance: int) -> None:
    random = np.random.default_rng(3)
    base = random.integers(0, 2, (40, 400), dtype=np.uint8)
    flips = np.arange(400) < np.arange(0, 120, 3)[:, None]
    hashes = [np.packbits(bits).tobytes().hex() for bits in (*base, *(base ^ flips))]

    assert near_duplicates(hashes, distance).tolist() == brute_force(hashes, distance)
