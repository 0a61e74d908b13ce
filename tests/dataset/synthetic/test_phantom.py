from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.dataset.layout import Pair, list_dataset
from pipeline.dataset.synthetic import phantom
from pipeline.dataset.synthetic.phantom import KAGGLE_PAIRS, class_counts, radiograph, write_dataset
from pipeline.errors import CrashedError, DatasetError
from pipeline.radiograph.reading import read_mask, read_radiograph
from tests.test_worker_pool import end_at_once

Grey = NDArray[np.uint8]
CLASSES = list(KAGGLE_PAIRS)
EACH = 20


@cache
def sample() -> dict[str, list[tuple[Grey, Grey]]]:
    return {name: [radiograph(3, index, name) for index in range(EACH)] for name in CLASSES}


@cache
def sample_at_256() -> list[tuple[Grey, NDArray[np.bool_]]]:
    pairs = [pair for name in CLASSES for pair in sample()[name]]
    size = (256, 256)
    return [
        (cv2.resize(image, size, interpolation=cv2.INTER_AREA), mask > 0) for image, mask in pairs
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_dataset(folder, pairs=120, seed=7, workers=1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def dice(found: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(found & mask) / (np.count_nonzero(found) + np.count_nonzero(mask))


def lungs_of(dark: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a careful person leaves of a threshold: the two largest regions off the border."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8))
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    sizes = stats[:, cv2.CC_STAT_AREA].copy()
    sizes[[0, *np.unique(border)]] = 0
    return np.isin(labels, [label for label in np.argsort(-sizes)[:2] if sizes[label]])


def test_a_dataset_has_the_layout_and_the_quirks_of_the_database(dataset: Path) -> None:
    listing = list_dataset(dataset)

    assert len(listing.pairs) == 120
    assert listing.refused == []
    assert {pair.class_name for pair in listing.pairs} == set(CLASSES)
    assert Pair("Viral Pneumonia", "Viral Pneumonia-1") in listing.pairs
    for pair in listing.pairs:
        with Image.open(dataset / pair.image) as image, Image.open(dataset / pair.mask) as mask:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (299, 299))
            assert (mask.format, mask.mode, mask.size) == ("PNG", "RGB", (256, 256))
            assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_the_files_hold_the_radiographs_and_masks(dataset: Path) -> None:
    image, mask = radiograph(7, 12, "COVID")

    np.testing.assert_array_equal(read_radiograph(dataset / "COVID/images/COVID-12.png"), image)
    np.testing.assert_array_equal(read_mask(dataset / "COVID/masks/COVID-12.png"), mask)


def test_the_sheets_repeat_the_quirks_of_the_database(dataset: Path) -> None:
    sheet = openpyxl.load_workbook(dataset / "Normal.metadata.xlsx").active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))

    assert rows[0] == ("FILE NAME", "FORMAT", "SIZE", "URL")
    assert rows[1][:3] == ("NORMAL-1", "PNG", "256*256")
    assert len(rows) == 1 + len(list((dataset / "Normal/images").iterdir()))
    assert len(list(dataset.glob("*.metadata.xlsx"))) == 4


def test_a_hundred_and_twenty_pairs_fit_into_four_megabytes(dataset: Path) -> None:
    assert sum(map(len, contents(dataset).values())) <= 4_000_000


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    alone = write_dataset(tmp_path / "alone", pairs=10, seed=5, workers=1)
    together = write_dataset(tmp_path / "together", pairs=10, seed=5, workers=2)

    assert alone == together
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path: Path, dataset: Path) -> None:
    write_dataset(tmp_path / "few", pairs=4, seed=7, workers=1)

    few, many = contents(tmp_path / "few"), contents(dataset)
    pictures = [name for name in few if name.endswith(".png")]
    assert len(pictures) == 8
    assert all(few[name] == many[name] for name in pictures)


@pytest.mark.parametrize(
    ("seed", "index", "name"), [(8, 1, "COVID"), (7, 2, "COVID"), (7, 1, "Normal")]
)
def test_another_seed_index_or_class_is_another_patient(seed: int, index: int, name: str) -> None:
    image, mask = radiograph(7, 1, "COVID")
    other_image, other_mask = radiograph(seed, index, name)

    assert not np.array_equal(image, other_image)
    assert not np.array_equal(mask, other_mask)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (1, [0, 0, 1, 0]),
        (3, [1, 1, 1, 0]),
        (4, [1, 1, 1, 1]),
        (8, [2, 2, 2, 2]),
        (120, [25, 26, 44, 25]),
        (21_165, [3616, 6012, 10_192, 1345]),
    ],
)
def test_classes_are_as_frequent_as_on_kaggle_but_never_rare(
    pairs: int, expected: list[int]
) -> None:
    assert list(class_counts(pairs).values()) == expected


def test_class_counts_add_up_and_keep_their_floor() -> None:
    for pairs in range(1, 2000):
        counts = class_counts(pairs).values()
        assert sum(counts) == pairs
        assert min(counts) >= min(25, pairs // 4)


def test_a_class_without_a_pair_gets_no_folder(tmp_path: Path) -> None:
    assert write_dataset(tmp_path / "data", pairs=1, seed=1, workers=1) == {"Normal": 1}
    assert [path.name for path in sorted((tmp_path / "data").iterdir())] == [
        "Normal",
        "Normal.metadata.xlsx",
    ]


def test_no_brightness_threshold_finds_the_lungs(record_property: Callable[..., None]) -> None:
    pairs = sample_at_256()
    below = {t: np.mean([dice(image < t, mask) for image, mask in pairs]) for t in range(8, 256, 4)}
    otsu = [
        dice(image <= cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)[0], mask)
        for image, mask in pairs
    ]
    record_property("best_threshold_dice", float(max(below.values())))
    record_property("otsu_dice", float(np.mean(otsu)))

    assert max(below.values()) < 0.75
    assert np.mean(otsu) < 0.75


def test_not_even_a_cleaned_threshold_chosen_for_each_image_passes_the_gate() -> None:
    best = [
        max(dice(lungs_of(image < t), mask) for t in range(40, 232, 12))
        for image, mask in sample_at_256()
    ]

    assert np.mean(best) < 0.85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "pairs 0: expected at least 1"),
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"workers": 0}, "workers 0: expected at least 1"),
    ],
)
def test_impossible_numbers_are_refused(
    tmp_path: Path, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_dataset(tmp_path / "data", **{"pairs": 1, "seed": 1, "workers": 1, **arguments})

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")

    with pytest.raises(DatasetError, match="is not empty; name an absent or empty folder"):
        write_dataset(tmp_path, pairs=1, seed=1, workers=1)

    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("absolute", [True, False])
def test_the_current_folder_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DatasetError, match="is the current folder, which cannot be replaced; name"):
        write_dataset(tmp_path if absolute else Path(), pairs=1, seed=1, workers=1)

    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_as_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("kept")

    with pytest.raises(DatasetError, match="data: is a file"):
        write_dataset(tmp_path / "data", pairs=1, seed=1, workers=1)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    write_dataset(tmp_path / "data", pairs=2, seed=1, workers=1)

    assert len(list_dataset(tmp_path / "data").pairs) == 2


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(seed: int, index: int, class_name: str) -> tuple[Grey, Grey]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phantom, "radiograph", fail)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(tmp_path / "data", pairs=2, seed=1, workers=1)

    assert list(tmp_path.iterdir()) == []


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(DatasetError, match="class 'Flu': expected one of COVID, Lung_Opacity"):
        radiograph(1, 1, "Flu")


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_a_negative_seed_or_index_is_refused(seed: int, index: int) -> None:
    with pytest.raises(DatasetError, match="expected 0 or more"):
        radiograph(seed, index, "Normal")


def test_a_killed_worker_is_a_crash_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantom, "_write_chunk", end_at_once)

    with pytest.raises(CrashedError, match=r"^phantom: one of 2 worker processes was killed"):
        write_dataset(tmp_path / "data", pairs=4, seed=0, workers=2)

    assert list(tmp_path.iterdir()) == []
