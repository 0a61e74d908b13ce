from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from pipeline.dataset.layout import Quarantined
from pipeline.dataset.manifest import quarantine_table
from pipeline.dataset.validation.expectations import ValidationResult
from pipeline.dataset.validation.whole import inspect_dataset
from pipeline.errors import DatasetError, StageError
from pipeline.files import read_json, sha256_file
from pipeline.params import Params
from pipeline.radiograph.reading import pixel_sha256, read_radiograph
from pipeline.stages.validate import LISTED, log_problems, run
from tests.dataset.delivery.deliveries import write_sheet

Dataset = Callable[..., Path]


def quarantine(root: Path, folder: str = "validate") -> dict[str, str]:
    table = pd.read_csv(root / "artifacts" / folder / "quarantine.csv", keep_default_na=False)
    return dict(zip(table["path"], table["reason"], strict=True))


def test_a_good_dataset_gets_a_manifest_data_docs_and_no_quarantine(
    dataset: Dataset,
    params: Params,
) -> None:
    root = dataset(COVID=12, Normal=15)

    line = run(params, root)

    manifest = pd.read_parquet(root / "artifacts/validate/manifest.parquet")
    row = manifest.set_index("image_id").loc["COVID/COVID-3"]
    image = root / "data" / row["image_path"]
    assert line == "validate: 27 pairs, 0 quarantined"
    assert list(manifest["image_id"]) == sorted(manifest["image_id"])
    assert row["image_sha256"] == sha256_file(image)
    assert row["pixel_sha256"] == pixel_sha256(read_radiograph(image))
    assert 0.05 < row["lung_area"] < 0.4
    assert read_json(root / "artifacts/validate/validation.json")["classes"] == {
        "COVID": 12,
        "Normal": 15,
    }
    docs = root / "artifacts/validate/data_docs"
    assert "manifest" in (docs / "index.html").read_text()
    assert quarantine(root) == {}
    doubtful = (root / "artifacts/validate/doubtful_conventions.csv").read_text()
    assert doubtful.startswith("image_id,convention,convention_by,mask_sha256,looks_like,")
    assert doubtful.count("\n") == 1
    assert not (root / "artifacts/validate-refused").exists()


@pytest.mark.slow
def test_too_many_unusable_pairs_stop_the_run_and_are_named(
    dataset: Dataset,
    params: Params,
) -> None:
    root = dataset(COVID=12, Normal=12)
    for number in (3, 4):
        (root / f"data/COVID/masks/COVID-{number}.png").unlink()

    with pytest.raises(StageError) as refusal:
        run(params, root)

    message = str(refusal.value)
    assert "validate.max_quarantined=0.05" in message
    assert "COVID/images/COVID-3.png (unpaired" in message
    assert not (root / "artifacts/validate").exists()
    assert quarantine(root, "validate-refused") == {
        "COVID/images/COVID-3.png": "unpaired",
        "COVID/images/COVID-4.png": "unpaired",
    }
    assert (root / "artifacts/validate-refused/data_docs/index.html").exists()


@pytest.mark.slow
def test_a_class_with_two_images_stops_the_run(dataset: Dataset, params: Params) -> None:
    root = dataset(COVID=2, Normal=12)

    with pytest.raises(StageError, match=r"min_pairs_per_class=10 pairs in a class: COVID \(2\)"):
        run(params, root)


@pytest.mark.slow
def test_duplicates_and_odd_lung_areas_are_warned_of_but_pass(
    dataset: Dataset,
    params: Params,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = dataset(COVID=12, Normal=12)
    images, masks = root / "data/COVID/images", root / "data/COVID/masks"
    for folder in (images, masks):
        (folder / "COVID-1.png").write_bytes((folder / "COVID-2.png").read_bytes())
    speck = np.zeros((64, 64), np.uint8)
    speck[30:33, 30:33] = 255
    Image.fromarray(speck).save(masks / "COVID-5.png")
    with Image.open(masks / "COVID-6.png") as mask:
        Image.fromarray(np.asarray(mask) & 254).save(masks / "COVID-6.png")

    said = run(params, root)

    assert "the same picture more than once: COVID/COVID-1, COVID/COVID-2" in caplog.text
    assert "lungs outside 5% to 60% of the mask: COVID/COVID-5" in caplog.text
    summary = read_json(root / "artifacts/validate/validation.json")
    assert (summary["warnings"], summary["label_masks"]) == (2, 1)
    assert said.endswith(", 1 masks by their labels")


def spoil_empty(root: Path) -> None:
    (root / "COVID/images/COVID-1.png").write_bytes(b"")


def spoil_truncated(root: Path) -> None:
    path = root / "COVID/images/COVID-1.png"
    path.write_bytes(path.read_bytes()[:200])


def spoil_html(root: Path) -> None:
    (root / "COVID/images/COVID-1.png").write_text("<html>404</html>")


def spoil_flat(root: Path) -> None:
    Image.new("L", (64, 64), 128).save(root / "COVID/images/COVID-1.png")


def spoil_colour(root: Path) -> None:
    Image.new("RGB", (64, 64), (200, 10, 10)).save(root / "COVID/images/COVID-1.png")


def spoil_mask_size(root: Path) -> None:
    Image.new("L", (50, 64), 255).save(root / "COVID/masks/COVID-1.png")


def spoil_mask_empty(root: Path) -> None:
    Image.new("L", (64, 64), 0).save(root / "COVID/masks/COVID-1.png")


def spoil_mask_full(root: Path) -> None:
    Image.new("L", (64, 64), 255).save(root / "COVID/masks/COVID-1.png")


def spoil_mask_smooth(root: Path) -> None:
    Image.linear_gradient("L").resize((64, 64)).save(root / "COVID/masks/COVID-1.png")


@pytest.mark.parametrize(
    ("spoil", "path", "reason"),
    [
        (spoil_empty, "COVID/images/COVID-1.png", "empty_file"),
        (spoil_truncated, "COVID/images/COVID-1.png", "truncated"),
        (spoil_html, "COVID/images/COVID-1.png", "not_png"),
        (spoil_flat, "COVID/images/COVID-1.png", "constant"),
        (spoil_colour, "COVID/images/COVID-1.png", "not_grayscale"),
        (spoil_mask_size, "COVID/masks/COVID-1.png", "mask_size"),
        (spoil_mask_empty, "COVID/masks/COVID-1.png", "mask_empty"),
        (spoil_mask_full, "COVID/masks/COVID-1.png", "mask_full"),
        (spoil_mask_smooth, "COVID/masks/COVID-1.png", "mask_values"),
    ],
)
def test_an_unusable_pair_is_quarantined_and_the_others_go_through(
    dataset: Dataset,
    spoil: Callable[[Path], None],
    path: str,
    reason: str,
) -> None:
    root = dataset(COVID=3, Normal=3)
    spoil(root / "data")

    manifest, bad, _ = inspect_dataset(root / "data")

    assert bad[["path", "reason"]].to_numpy().tolist() == [[path, reason]]
    assert "COVID/COVID-1" not in set(manifest["image_id"])
    assert len(manifest) == 5


def test_a_mask_of_256_beside_a_larger_image_is_normal(dataset: Dataset) -> None:
    root = dataset(COVID=2)
    mask = root / "data/COVID/masks/COVID-1.png"
    Image.open(mask).resize((256, 256), Image.Resampling.NEAREST).save(mask)

    manifest, bad, _ = inspect_dataset(root / "data")

    assert bad.empty
    assert manifest["mask_width"].tolist() == [256, 64]


def test_an_empty_dataset_is_one_line(tmp_path: Path, params: Params) -> None:
    (tmp_path / "data").mkdir()

    with pytest.raises(DatasetError, match="found no pairs"):
        run(params, tmp_path)


def test_data_that_was_not_pulled_says_how_to_pull_it(tmp_path: Path, params: Params) -> None:
    with pytest.raises(DatasetError, match="dvc pull data"):
        run(params, tmp_path)


def test_a_damaged_sheet_costs_the_patients_of_its_class_and_no_pair(dataset: Dataset) -> None:
    root = dataset(COVID=3, Normal=3)
    (root / "data/COVID.metadata.xlsx").write_bytes(b"PK")
    write_sheet(root / "data/Normal.metadata.xlsx", ("FILE NAME", "PATIENT"), ("NORMAL-2", 7))

    manifest, bad, _ = inspect_dataset(root / "data")

    assert bad[["image_id", "path", "reason"]].to_numpy().tolist() == [
        ["", "COVID.metadata.xlsx", "metadata"]
    ]
    assert manifest["patient"].tolist() == ["", "", "", "", "7", ""]


def test_without_parameters_no_mask_is_flagged(dataset: Dataset, params: Params) -> None:
    root = dataset(COVID=3)
    speck = np.zeros((64, 64), np.uint8)
    speck[30:33, 30:33] = 255
    Image.fromarray(speck).save(root / "data/COVID/masks/COVID-2.png")

    flagged, _, _ = inspect_dataset(root / "data", params.validate_)
    manifest, _, _ = inspect_dataset(root / "data")

    assert "implausible_area" in flagged["flags"][1]
    assert manifest["flags"].tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("content", "found"),
    [("{", "Invalid JSON"), ("[]", "object"), ('{"all": null, "classes": 1}', "classes")],
)
def test_a_damaged_profile_says_how_to_bring_it_back(
    dataset: Dataset, params: Params, content: str, found: str
) -> None:
    root = dataset(COVID=3)
    (root / "data.previous.json").write_text(content)

    with pytest.raises(StageError, match=rf"{found}.*`git checkout data.previous.json`"):
        run(params, root)


@pytest.mark.slow
def test_a_class_drawn_to_another_convention_is_warned_of_before_training(
    dataset: Dataset, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    root = dataset(COVID=12, Normal=12)
    for path in (root / "data/COVID/masks").iterdir():
        mask = Image.open(path).convert("L")
        mask.filter(ImageFilter.MaxFilter(9)).save(path)

    run(params, root)

    assert re.search(r"warning: COVID: lung area 0\.\d+ against 0\.\d+ in the other", caplog.text)
    assert "another annotation convention?" in caplog.text
    shifts = read_json(root / "artifacts/validate/validation.json")["shifts"]
    assert shifts["lung_area COVID other classes"] > 1.25


def test_more_quarantined_files_than_fit_are_counted(
    dataset: Dataset, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    bad = quarantine_table(
        Quarantined("", f"COVID/images/{number}.png", "mode", "found", "remedy")
        for number in range(LISTED + 3)
    )

    log_problems(bad, ValidationResult(["no usable pair"], []))

    assert len(caplog.messages) == LISTED + 2
    assert caplog.messages[LISTED] == "validate: 3 more in quarantine.csv"
    assert caplog.messages[-1] == "validate: critical: no usable pair"
