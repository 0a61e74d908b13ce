from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import StageError
from pipeline.files import read_json, write_csv
from pipeline.params import Params
from pipeline.stages import augment
from tests.conftest import write_dataset


def with_augment(params: Params, **changes: Any) -> Params:
    changed = params.augment.model_copy(update={"image_size": 32, "workers": 1, **changes})
    return params.model_copy(update={"augment": changed})


def write_split(root: Path, train: int, val: int) -> None:
    write_dataset(root / "data", {"COVID": train + val, "Normal": train + val})
    rows = [
        {
            "image_id": f"{name}/{name}-{i}",
            "class_name": name,
            "image_path": f"{name}/images/{name}-{i}.png",
            "mask_path": f"{name}/masks/{name}-{i}.png",
            "pixel_sha256": "",
            "split": "train" if i <= train else "val",
        }
        for name in ("COVID", "Normal")
        for i in range(1, train + val + 1)
    ]
    write_csv(root / "artifacts/split/split.csv", list(rows[0]), rows)


def hashes(root: Path) -> dict[str, str]:
    files = sorted((root / "artifacts/augment").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


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
    assert made["redrawn"] == 0
    assert "18 train and 4 val records of 32x32 pixels in 2 shards" in line


def test_bytes_do_not_depend_on_the_number_of_processes(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "SHARD_RECORDS", 4)

    augment.run(with_augment(params, workers=1), root)
    alone = hashes(root)
    augment.run(with_augment(params, workers=2), root)

    assert len([name for name in alone if name.endswith("of-00003.tfrecord")]) == 3
    assert hashes(root) == alone


def test_another_seed_gives_other_copies(params: Params, root: Path) -> None:
    augment.run(with_augment(params, seed=1), root)
    first = hashes(root)
    augment.run(with_augment(params, seed=2), root)

    assert hashes(root)["train-00000-of-00001.tfrecord"] != first["train-00000-of-00001.tfrecord"]


def test_summary_names_the_transforms_and_their_strength(params: Params, root: Path) -> None:
    augment.run(with_augment(params, rotate=5.0), root)

    made = read_json(root / "artifacts/augment/augment.json")
    flip, affine, light = made["transforms"]["transforms"]
    assert flip["__class_fullname__"] == "HorizontalFlip"
    assert affine["rotate"] == [-5, 5]
    assert (affine["interpolation"], affine["mask_interpolation"], affine["fill_mask"]) == (1, 0, 0)
    assert light["__class_fullname__"] == "RandomBrightnessContrast"
    assert made["albumentations"]


def test_preview_shows_each_class_with_outlined_lungs(params: Params, root: Path) -> None:
    augment.run(with_augment(params, copies=2), root)

    preview = np.asarray(Image.open(root / "artifacts/augment/preview.png"))
    tile = augment.TILE + augment.GAP
    assert preview.shape == (2 * (tile + augment.CAPTION) + augment.GAP, 3 * tile + augment.GAP, 3)
    for row in range(2):
        for column in range(3):
            top = augment.GAP + row * (tile + augment.CAPTION) + augment.CAPTION
            left = augment.GAP + column * tile
            shown = preview[top : top + augment.TILE, left : left + augment.TILE]
            assert (shown == augment.OUTLINE).all(axis=-1).sum() > 100


def test_lungs_pushed_out_of_the_frame_are_drawn_again(params: Params, root: Path) -> None:
    augment.run(with_augment(params, shift=0.6, copies=8), root)

    assert read_json(root / "artifacts/augment/augment.json")["redrawn"] > 0


def test_lungs_that_stay_out_of_the_frame_stop_the_stage(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "MIN_LUNG_KEPT", 9.0)

    with pytest.raises(
        StageError, match=r"^(COVID|Normal)/.*lost half of the lungs.*augment\.shift"
    ):
        augment.run(with_augment(params), root)
    assert not (root / "artifacts/augment").exists()


def test_a_copy_keeps_image_and_mask_together(params: Params, root: Path) -> None:
    pair = augment._pairs(root, "train")[0]
    changed = with_augment(params, image_size=64, rotate=30.0, flip=1.0).augment
    transforms = augment._transforms(changed)

    draw = augment.Draw(pair.image_id, pair.image, pair.mask, copy=1)
    image, mask, _ = augment._make(draw, transforms, changed)

    original = augment._make(pair, transforms, changed)[1]
    assert set(np.unique(mask)) == {0, 1}
    assert (mask != original).any()
    assert image[mask == 1].mean() < 120 < image[(mask == 0) & (image > 0)].mean()


def test_a_mask_pixel_is_lung_when_half_of_its_area_is(params: Params, root: Path) -> None:
    pair = augment._pairs(root, "train")[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :33] = 255  # column 16 of 32 covers columns 32 and 33: one half
    Image.fromarray(mask).save(pair.mask)

    _, small, _ = augment._make(pair, None, with_augment(params).augment)

    assert small[0].tolist() == [1] * 17 + [0] * 15


def test_missing_split_is_named(params: Params, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split\.csv: no such file; run the stage split"):
        augment.run(with_augment(params), tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_pairs_is_refused(params: Params, root: Path, split: str) -> None:
    table = root / "artifacts/split/split.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] != split]
    write_csv(table, list(rows[0]), rows)

    with pytest.raises(StageError, match=rf"split\.csv: found no {split} pairs"):
        augment.run(with_augment(params), root)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_went_bad_since_validation_is_named(
    params: Params, root: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    (root / "data/COVID/images/COVID-1.png").write_bytes(b"gone")

    with pytest.raises(StageError, match=r"COVID-1\.png.*then run the stage validate again"):
        augment.run(with_augment(params, workers=workers), root)
