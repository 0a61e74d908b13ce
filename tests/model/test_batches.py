from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.augmentation.copies import Copier, Original
from pipeline.errors import CrashedError, StageError
from pipeline.model import batch_making, batches
from pipeline.model.batches import Batches, read_batches, read_first
from pipeline.model.shards import Shards, encode_record, write_shard
from pipeline.params import AugmentParams, Params
from tests.conftest import draw_pair

SIDE = 32


def shards_of(folder: Path, records: int, parts: int = 3, conventions: int = 1) -> Shards:
    """Shards with so many different pairs in all; of several conventions each has the next."""
    encoded = []
    for i in range(records):
        image, mask = draw_pair(i, SIDE)
        share = np.asarray(mask.convert("L")) - np.uint8(i)
        place = i % conventions if conventions > 1 else None
        encoded.append(encode_record(f"A/{i}", np.asarray(image), share, place))
    paths = [folder / f"train-{i:05d}-of-{parts:05d}.tfrecord" for i in range(parts)]
    for i, path in enumerate(paths):
        write_shard(path, encoded[records * i // parts : records * (i + 1) // parts])
    return Shards(paths, records, SIDE, tuple("abcdefgh"[:conventions]))


def fresh(shards: Shards, params: Params, copies: int = 2, **changes: Any) -> Shards:
    """The same, and so many copies of each are drawn anew."""
    drawn = params.augment.model_dump() | {"image_size": SIDE, "copies": copies, "fresh": True}
    drawn |= {"workers": 1, **changes}
    records = shards.records * (copies + 1)
    return replace(shards, records=records, fresh=AugmentParams.model_validate(drawn))


def digests(found: Any) -> list[str]:
    """One of each image and its mask."""
    return [
        hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
        for images, masks in found
        for image, mask in zip(images, masks, strict=True)
    ]


def test_batches_hold_what_was_written(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 7)

    found = list(read_batches(shards, 3))

    assert [len(images) for images, _ in found] == [3, 3, 1]
    assert len(read_batches(shards, 3)) == 3
    images = np.concatenate([images for images, _ in found])
    masks = np.concatenate([masks for _, masks in found])
    assert (images.shape, images.dtype) == ((7, SIDE, SIDE, 1), np.uint8)
    assert (masks.shape, masks.dtype, masks.min(), masks.max()) == (images.shape, np.float32, 0, 1)
    pixels = np.rint(masks * 255).astype(np.uint8)
    pairs = [draw_pair(i, SIDE) for i in range(7)]
    wanted = {
        np.asarray(image).tobytes(): (np.asarray(mask.convert("L")) - np.uint8(i)).tobytes()
        for i, (image, mask) in enumerate(pairs)
    }
    assert {
        image.tobytes(): mask.tobytes() for image, mask in zip(images, pixels, strict=True)
    } == wanted
    np.testing.assert_array_equal(masks, pixels.astype(np.float32) / np.float32(255))


def test_the_network_is_told_each_convention_where_there_are_several(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 6, parts=1, conventions=3)

    ((images, told), masks), *_ = read_batches(shards, 4)

    assert (images.shape, masks.shape) == ((4, SIDE, SIDE, 1),) * 2
    assert told.dtype == np.float32
    np.testing.assert_array_equal(told, np.eye(3)[[0, 1, 2, 0]])
    np.testing.assert_array_equal(read_first(shards, 2)[1], np.eye(3)[:2])


def test_the_first_radiographs_come_with_masks_of_what_is_lung_by_half(tmp_path: Path) -> None:
    images, told, masks = read_first(shards_of(tmp_path, 5, parts=1), 3)

    assert (images.shape, masks.shape) == ((3, SIDE, SIDE),) * 2
    assert told.tolist() == [[1], [1], [1]]
    for i in range(3):
        image, mask = draw_pair(i, SIDE)
        np.testing.assert_array_equal(images[i], image)
        share = np.asarray(mask.convert("L")) - np.uint8(i)
        np.testing.assert_array_equal(masks[i], share >= 128)


def test_a_seed_decides_the_order_of_training(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, 40)

    first, again, other, unshuffled = (
        digests(read_batches(shards, 8, order)) for order in (1, 1, 2, None)
    )

    assert first == again
    assert len({tuple(found) for found in (first, other, unshuffled)}) == 3
    assert Counter(first) == Counter(other) == Counter(unshuffled)


def test_every_iteration_is_the_same(tmp_path: Path) -> None:
    found = read_batches(shards_of(tmp_path, 20), 5, order=3)

    assert digests(found) == digests(found)


def test_a_small_buffer_still_gives_every_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = shards_of(tmp_path, 20)
    whole = digests(read_batches(shards, 5, order=1))
    monkeypatch.setattr(batches, "SHUFFLE_BYTES", 3 * 2 * SIDE**2)

    small = digests(read_batches(shards, 5, order=1))

    assert small != whole
    assert sorted(small) == sorted(whole)
    assert len(set(small)) == 20


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8, 8]), (20, [20]), (32, [20])])
def test_training_takes_full_batches_where_there_are_any(
    tmp_path: Path, batch_size: int, sizes: list[int]
) -> None:
    found = read_batches(shards_of(tmp_path, 20), batch_size, order=1)

    assert [len(images) for images, _ in found] == sizes
    assert len(found) == len(sizes)


@pytest.mark.parametrize("order", [None, 4])
@pytest.mark.parametrize("skip", [1, 3, 4, 9])
def test_the_batches_after_those_left_out_are_the_same(
    tmp_path: Path, skip: int, order: int | None
) -> None:
    shards = shards_of(tmp_path, 14)
    whole = [images.tobytes() for images, _ in read_batches(shards, 4, order)]

    rest = read_batches(shards, 4, order, skip)

    assert [images.tobytes() for images, _ in rest] == whole[skip:]
    assert len(rest) == len(whole[skip:])


def test_what_is_left_out_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    plain = batch_making.read_record
    monkeypatch.setattr(
        batch_making, "read_record", lambda place, *rest: read.append(place) or plain(place, *rest)
    )

    assert len(digests(read_batches(shards_of(tmp_path, 12), 4, order=1, skip=2))) == len(read) == 4


@pytest.mark.parametrize("announced", [11, 13, 99])
@pytest.mark.parametrize(("order", "skip"), [(None, 0), (3, 0), (3, 1)])
def test_another_number_of_records_than_announced_is_refused(
    tmp_path: Path, announced: int, order: int | None, skip: int
) -> None:
    shards = replace(shards_of(tmp_path, 12), records=announced)

    with pytest.raises(StageError, match=rf"damaged.*found 12 records .*expected {announced}\)"):
        list(read_batches(shards, 4, order, skip))


def test_another_size_is_refused(tmp_path: Path) -> None:
    shards = replace(shards_of(tmp_path, 4), image_size=64)

    with pytest.raises(StageError, match=r"of another size .*found image of 1024 pixels, expected"):
        list(read_batches(shards, 2))


def failing_engine(batch: Any) -> None:
    raise ZeroDivisionError


def test_who_stops_early_or_fails_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    found = read_batches(shards_of(tmp_path, 40), 2, order=1)

    for _ in found:
        break
    with pytest.raises(ZeroDivisionError), found.reading() as stream:
        failing_engine(stream[0])

    assert threading.active_count() == before


def test_what_failed_is_the_reading_and_not_the_engine(tmp_path: Path) -> None:
    shards = replace(shards_of(tmp_path, 4), records=5)

    def engine(stream: Any) -> None:
        try:
            stream[1]
        except StageError:
            raise RuntimeError("UnknownError: trace of a graph") from None

    with pytest.raises(StageError, match="found 4 records"), read_batches(shards, 2).reading() as s:
        engine(s)


def test_few_batches_are_made_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = batch_making.BatchMaker.__call__
    monkeypatch.setattr(
        batch_making.BatchMaker, "__call__", lambda self, w: made.append(w) or plain(self, w)
    )

    with read_batches(shards_of(tmp_path, 40), 1).reading() as stream:
        stream[0]

    assert len(made) <= 2 * batches.READERS + 1


def test_batches_may_be_asked_for_again_and_in_another_order(tmp_path: Path) -> None:
    found = read_batches(shards_of(tmp_path, 14), 4, order=4)
    whole = [images.tobytes() for images, _ in found]

    with found.reading() as reading:
        asked = [0, 1, 0, 1, 2, 0, 2, 1, 0, 0]
        assert [reading[number][0].tobytes() for number in asked] == [whole[i] for i in asked]


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thread draw the copies: starting a process takes seconds."""
    monkeypatch.setattr(batches, "drawing_processes", lambda _: (batches.ThreadPoolExecutor(1), 1))


def test_an_epoch_has_every_record_and_each_of_its_copies_once(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    plain = shards_of(tmp_path, 12)
    shards = fresh(plain, params, copies=3)
    assert shards.fresh
    copier = Copier(shards.fresh)

    def version(i: int, number: int) -> str:
        image, mask = draw_pair(i, SIDE)
        share = np.asarray(mask.convert("L")) - np.uint8(i)
        copy: Any = Original.of(f"A/{i}", np.asarray(image), share)
        pixels = (np.asarray(image), share)
        if number:
            drawn = copier.draw(copy, number)
            pixels = drawn.image, drawn.mask
        shown = pixels[1].astype(np.float32) / np.float32(255)
        return hashlib.sha256(pixels[0].tobytes() + shown.tobytes()).hexdigest()

    for epoch in (1, 3):
        found = digests(read_batches(shards, 6, order=epoch, epoch=epoch))

        numbers = [0, *range((epoch - 1) * 3 + 1, epoch * 3 + 1)]
        assert sorted(found) == sorted(version(i, number) for i in range(12) for number in numbers)
        # Each pass has every pair once, some as they are and some as copies.
        originals = {version(i, 0) for i in range(12)}
        assert [len(originals & set(found[at : at + 12])) for at in range(0, 48, 12)] == [3] * 4
    assert len(read_batches(shards, 6, order=1)) == 8


def test_copies_follow_from_seed_order_and_epoch_alone(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    shards = fresh(shards_of(tmp_path, 10), params)
    whole = digests(read_batches(shards, 5, order=9, epoch=2))

    assert digests(read_batches(shards, 5, order=9, epoch=2)) == whole
    assert digests(read_batches(shards, 5, order=9, epoch=2, skip=4)) == whole[20:]
    assert digests(read_batches(shards, 5, order=9, epoch=3)) != whole


@pytest.mark.slow
def test_processes_draw_what_one_would(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = fresh(shards_of(tmp_path, 10), params, workers=2)

    two = digests(read_batches(shards, 3, order=9))
    in_this_process(monkeypatch)

    assert two == digests(read_batches(shards, 3, order=9))


class ExitingMaker(batch_making.BatchMaker):
    """Ends its process."""

    def __call__(self, wanted: Any) -> Any:
        os._exit(9)


@pytest.mark.slow
def test_a_process_that_dies_is_worth_a_retry(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BatchMaker", ExitingMaker)

    with pytest.raises(CrashedError, match=r"^train: a process that draws .*augment\.workers"):
        list(read_batches(fresh(shards_of(tmp_path, 6), params), 2, order=1))


def test_lungs_that_never_stay_stop_the_training(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_this_process(monkeypatch)
    monkeypatch.setattr(batch_making, "MOST_DRAWS", 3)
    away = [{"name": "Affine", "scale": [1, 1], "rotate": [0, 0], "p": 1}]
    away[0]["translate_percent"] = [0.25, 0.25]
    # Of one pixel in the corner, which every shift takes out of the frame.
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[-1, -1] = 255
    path = tmp_path / "train-00000-of-00001.tfrecord"
    write_shard(path, [encode_record("A/7", np.zeros_like(mask), mask)])

    with pytest.raises(StageError, match=r"A/7: found no copy among 3 .*narrow Affine in augment"):
        list(read_batches(fresh(Shards([path], 1, SIDE), params, transforms=away), 1, order=1))


def test_batches_have_a_length_without_a_file() -> None:
    assert isinstance(read_batches(Shards([], 50, SIDE), 8, skip=2), Batches)
    assert len(read_batches(Shards([], 50, SIDE), 8, skip=2)) == 5
    assert len(read_batches(Shards([], 50, SIDE), 8, order=1)) == 6
