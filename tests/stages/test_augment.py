from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.augmentation.preview import OUTLINE, TILE
from pipeline.conventions import STANDARD
from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, SplitRow, select_split, split_rows
from pipeline.errors import CrashedError, StageError
from pipeline.files import read_json, sha256_file, write_csv
from pipeline.model.shards import encode_record, find_shards
from pipeline.params import Params
from pipeline.stages import augment
from pipeline.worker_pool import usable_cores
from tests.conftest import write_dataset


def with_augment(params: Params, **changes: Any) -> Params:
    changed = params.augment.model_dump() | {"image_size": 32, "workers": 1, **changes}
    return params.model_copy(update={"augment": type(params.augment).model_validate(changed)})


def write_split(root: Path, train: int, val: int) -> None:
    write_dataset(root / "data", {"COVID": train + val, "Normal": train + val})
    rows = [
        {
            "image_id": f"{name}/{name}-{i}",
            "class_name": name,
            "image_path": f"{name}/images/{name}-{i}.png",
            "mask_path": f"{name}/masks/{name}-{i}.png",
            "image_sha256": sha256_file(root / f"data/{name}/images/{name}-{i}.png"),
            "mask_sha256": sha256_file(root / f"data/{name}/masks/{name}-{i}.png"),
            "pixel_sha256": "",
            "group": f"{name}/{name}-{i}",
            "source": "",
            "spacing": "",
            "split": "train" if i <= train else "val",
            "convention": STANDARD,
            "convention_by": "",
        }
        for name in ("COVID", "Normal")
        for i in range(1, train + val + 1)
    ]
    write_csv(root / "artifacts/split/split.csv", list(rows[0]), rows)


def hashes(root: Path) -> dict[str, str]:
    files = sorted((root / "artifacts/augment").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def records(root: Path, split: str) -> list[bytes]:
    """The serialised examples of a split, as they lie in its shards."""
    found = []
    for path in sorted((root / "artifacts/augment").glob(f"{split}-*.tfrecord")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            found.append(content[12 : 12 + length])
            content = content[12 + length + 4 :]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_split(tmp_path, train=3, val=2)
    return tmp_path


def test_train_gets_copies_and_val_gets_none(params: Params, root: Path) -> None:
    line = augment.run(with_augment(params, copies=2), root)

    made = read_json(root / "artifacts/augment/augment.json")
    assert made["pairs"] == {"train": 6, "val": 4}
    assert made["records"] == {"train": 18, "val": 4}
    assert made["image_size"] == 32
    assert made["redrawn"] == {"lungs_lost": 0, "lung_missing": 0}
    assert made["albumentations"] == "2.0.8"
    assert made["transforms"]["transforms"][0]["__class_fullname__"] == "HorizontalFlip"
    assert "18 train and 4 val records of 32x32 pixels in 8 shards, 0 redrawn" in line
    assert len(records(root, "train")) == 18
    assert len(set(records(root, "val"))) == 4


def test_fresh_copies_are_announced_and_not_stored(params: Params, root: Path) -> None:
    augment.run(with_augment(params, copies=9), root)
    originals = set(records(root, "train"))

    wanted = with_augment(params, copies=9, fresh=True, workers=1)
    line = augment.run(wanted, root)

    train, val = (find_shards(root / "artifacts/augment", split) for split in ("train", "val"))
    assert (train.records, train.passes) == (60, 10)
    assert train.fresh == wanted.augment.model_copy(update={"workers": 0})  # as of any number
    assert train.drawn_by(1).fresh == wanted.augment
    assert val.drawn_by(1) == val
    assert (val.records, val.passes, val.fresh) == (4, 1, None)
    assert len(records(root, "train")) == 6
    assert originals.issuperset(records(root, "train"))
    assert "60 train and 4 val records" in line
    assert "0 redrawn of those that were tried; training draws the copies" in line
    assert (root / "artifacts/augment/preview.png").exists()


def test_an_epoch_of_fresh_copies_begins_with_those_that_would_be_stored(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from pipeline.model import batches

    monkeypatch.setattr(batches, "drawing_processes", lambda _: (ThreadPoolExecutor(1), 1))
    found = []
    for fresh in (False, True):
        augment.run(with_augment(params, copies=3, fresh=fresh), root)
        shards = find_shards(root / "artifacts/augment", "train")
        read = list(batches.read_batches(shards, 24))
        found.append(
            [sorted(array.tobytes() for array in one) for [batch] in [read] for one in batch]
        )

    assert found[0] == found[1]


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_processes(params: Params, root: Path) -> None:
    augment.run(with_augment(params, copies=2, workers=1), root)
    alone = hashes(root)

    for workers in (2, 3):
        augment.run(with_augment(params, copies=2, workers=workers), root)
        assert hashes(root) == alone


def test_another_seed_gives_another_order_and_other_copies(params: Params, root: Path) -> None:
    augment.run(with_augment(params, seed=1), root)
    train, val = records(root, "train"), records(root, "val")
    augment.run(with_augment(params, seed=2), root)

    assert records(root, "val") != val
    assert sorted(records(root, "val")) == sorted(val)
    assert len(set(records(root, "train")) & set(train)) == 6  # the originals


def test_the_order_of_the_split_does_not_matter(params: Params, root: Path) -> None:
    augment.run(with_augment(params), root)
    first = hashes(root)
    table = root / "artifacts/split/split.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_csv(table, list(rows[0]), rows[::-1])
    augment.run(with_augment(params), root)

    assert hashes(root) == first


def test_shards_are_bounded_in_size_and_hold_all_records_of_their_pairs(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "SHARD_SIZE", 4500)  # two records of 32 x 32 pixels

    augment.run(with_augment(params, copies=1), root)

    shards = sorted((root / "artifacts/augment").glob("train-*.tfrecord"))
    assert [path.name for path in shards] == [f"train-{i:05d}-of-00006.tfrecord" for i in range(6)]
    assert all(5000 > path.stat().st_size > 4000 for path in shards)


@pytest.mark.parametrize(
    ("workers", "records", "processes"),
    [(0, 1, 1), (0, 1000, 1), (0, 10**6, usable_cores()), (3, 1, 3), (1, 10**6, 1)],
)
def test_little_work_is_done_by_few_processes_unless_told_otherwise(
    workers: int, records: int, processes: int
) -> None:
    assert augment._processes(workers, records) == processes


class ExitCode(augment.Shard):
    """A shard that can be given to os._exit."""

    def __index__(self) -> int:
        return 9


def test_a_killed_worker_is_a_crash_that_is_worth_a_retry(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "_write", os._exit)  # by name, which the workers know
    shards = [ExitCode(Path("x"), Path("data"), [], 0, params.augment, [STANDARD])] * 2

    with pytest.raises(
        CrashedError, match=r"one of 2 worker processes was killed.*augment\.worker"
    ):
        augment._write_all(shards, with_augment(params, workers=2).augment)


def test_redrawn_copies_are_counted_by_kind(params: Params, root: Path) -> None:
    strong = {
        "name": "Affine",
        "scale": [1.3, 1.35],
        "rotate": [-30, 30],
        "translate_percent": [-0.25, 0.25],
        "p": 1,
    }

    line = augment.run(with_augment(params, copies=8, transforms=[strong, strong]), root)

    redrawn = read_json(root / "artifacts/augment/augment.json")["redrawn"]
    assert redrawn["lung_missing"] > 0
    assert f"{sum(redrawn.values())} redrawn" in line


@pytest.mark.parametrize(("workers", "fresh"), [(1, False), (2, False), (1, True)])
def test_lungs_that_stay_out_of_the_frame_stop_the_stage(
    params: Params, root: Path, workers: int, fresh: bool
) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:10, :10] = 255
    path = root / "data/COVID/masks/COVID-1.png"
    Image.fromarray(mask).save(path)
    set_hash(root, "mask_sha256", path)
    away = {
        "name": "Affine",
        "scale": [1, 1],
        "rotate": [0, 0],
        "translate_percent": [-0.25, -0.24],
        "p": 1,
    }

    with pytest.raises(StageError, match=r"^COVID/COVID-1: .*; narrow Affine in augment\.transf"):
        augment.run(with_augment(params, transforms=[away], workers=workers, fresh=fresh), root)
    assert not (root / "artifacts/augment").exists()


def set_hash(root: Path, column: str, path: Path) -> None:
    """Let split.csv expect the present bytes of a file."""
    table = root / "artifacts/split/split.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if path == root / "data" / row[column.replace("sha256", "path")]:
            row[column] = sha256_file(path)
    write_csv(table, list(rows[0]), rows)


def train_rows(root: Path) -> list[SplitRow]:
    return split_rows(select_split(SPLIT.read(root / SPLIT_FILE), "train"))


def test_a_mask_pixel_holds_the_share_of_its_area_that_is_lung(root: Path) -> None:
    pair = train_rows(root)[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :33] = 255  # column 16 of 32 covers columns 32 and 33: one half
    Image.fromarray(mask).save(root / "data" / pair.mask_path)
    set_hash(root, "mask_sha256", root / "data" / pair.mask_path)

    _, small = augment.read_pair(root / "data", train_rows(root)[0], 32)

    assert small[0].tolist() == [255] * 16 + [128] + [0] * 15


@pytest.mark.parametrize("copies", [0, 1, 2, 7])
def test_the_preview_shows_each_class_with_outlined_lungs(
    params: Params, root: Path, copies: int
) -> None:
    augment.run(with_augment(params, copies=copies), root)

    preview = np.asarray(Image.open(root / "artifacts/augment/preview.png"))
    rows = 1 if copies <= 2 else 2  # of each class
    assert preview.shape[0] > 2 * rows * TILE
    outlined = (np.abs(preview.astype(int) - OUTLINE).max(axis=-1) < 40).sum()
    tiles = min(3, 6 // (copies + 1)) if copies <= 2 else 2
    assert outlined > 2 * tiles * (1 + min(copies, 5)) * 200


def test_the_preview_shows_what_the_shards_hold(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    draw = augment.draw_preview
    monkeypatch.setattr(
        augment, "draw_preview", lambda groups, text: shown.append(groups) or draw(groups, text)
    )

    augment.run(with_augment(params, copies=2), root)

    stored = records(root, "train")
    for groups in shown[0].values():
        for tiles in groups:
            image_id = next(
                f"{name}/{tiles[0].caption.partition(',')[0]}"
                for name in ("COVID", "Normal")
                if tiles[0].caption.startswith(name)
            )
            for tile in tiles:
                assert encode_record(image_id, tile.image, tile.mask) in stored


def test_missing_split_is_named(params: Params, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split\.csv: no such file.*run the stage split first"):
        augment.run(with_augment(params), tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_pairs_is_refused(params: Params, root: Path, split: str) -> None:
    table = root / "artifacts/split/split.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] != split]
    write_csv(table, list(rows[0]), rows)

    with pytest.raises(StageError, match=rf"split\.csv: found no {split} rows"):
        augment.run(with_augment(params), root)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_went_bad_since_validation_is_named(
    params: Params, root: Path, workers: int
) -> None:
    (root / "data/COVID/images/COVID-1.png").write_bytes(b"gone")

    with pytest.raises(StageError, match=r"COVID-1\.png.*then run the stage validate again"):
        augment.run(with_augment(params, workers=workers), root)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_file_that_was_exchanged_since_validation_is_named(
    params: Params, root: Path, kind: str
) -> None:
    path = root / f"data/Normal/{kind}/Normal-2.png"
    path.write_bytes((root / f"data/Normal/{kind}/Normal-1.png").read_bytes())

    with pytest.raises(StageError, match=r"Normal-2\.png: .*; then run the stage validate again"):
        augment.run(with_augment(params), root)


def test_more_conventions_than_a_network_can_be_told_are_refused(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "MOST_CONVENTIONS", 1)
    write_split(tmp_path, train=2, val=1)
    table = tmp_path / "artifacts/split/split.csv"
    rows = SPLIT.read(table)
    rows.loc[rows["class_name"] == "COVID", "convention"] = "heart"
    SPLIT.write(table, rows)

    with pytest.raises(StageError, match=r"found 2 annotation conventions, expected at most 1; "):
        augment.run(with_augment(params), tmp_path)


def test_records_say_their_convention_only_where_there_are_several(
    tmp_path: Path, params: Params
) -> None:
    write_split(tmp_path, train=4, val=2)
    few = with_augment(params, copies=1)
    augment.run(few, tmp_path)
    of_one = records(tmp_path, "train")

    table = tmp_path / "artifacts/split/split.csv"
    rows = SPLIT.read(table)
    rows.loc[rows["class_name"] == "COVID", "convention"] = "heart"
    SPLIT.write(table, rows)
    augment.run(few, tmp_path)

    told = b"\x0a\x0aconvention"
    assert not any(told in record for record in of_one)
    of_two = records(tmp_path, "train")
    assert len(of_two) == len(of_one)
    for record in of_two:
        place = record[record.index(told) :][12 + 6]
        assert place == (b"COVID/" in record)  # `standard` is the first
    assert find_shards(tmp_path / "artifacts/augment", "val").conventions == ("standard", "heart")
