from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import DatasetError, StageError, UnreadableError
from pipeline.evaluation.per_image import MEASURES, PARTS
from pipeline.evaluation.scores import SCORES, Counts, confusion, score
from pipeline.evaluation.scoring import score_images
from pipeline.files import read_json, sha256_file
from pipeline.params import EvaluateParams, Params
from pipeline.radiograph.reading import pixel_sha256, read_mask, read_radiograph
from pipeline.stages import evaluate
from pipeline.stages.evaluate import run
from tests.stages.evaluated import (
    PARAMS,
    Bilingual,
    StandIn,
    write_bilingual,
    write_split,
    write_training,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project after training, whose model is a StandIn."""
    write_split(tmp_path, test=5, COVID=7, Normal=8)
    write_training(tmp_path)
    monkeypatch.setattr(evaluate, "Predictor", lambda path: StandIn())
    return tmp_path


def test_the_stage_scores_every_test_radiograph_and_only_those(
    project: Path, params: Params
) -> None:
    line = run(params, project)

    table = pd.read_parquet(project / "artifacts/evaluate/per_image.parquet")
    split = pd.read_csv(project / "artifacts/split/split.csv")
    assert table["image_id"].tolist() == split[split["split"] == "test"]["image_id"].tolist()
    assert line.startswith("evaluate: 10 test radiographs, mean Dice 0.")
    assert table.columns.tolist() == [
        *("image_id", "class_name", "source", "pixel_sha256", "group"),
        *("convention", "convention_by", "spacing"),
        *(f"{part}{name}" for part in PARTS for name in (*Counts._fields, *MEASURES)),
        *("brier", "ece", "soft_dice", "contour_entropy", "tta_dice"),
    ]


def test_the_written_prediction_gives_the_written_counts(project: Path, params: Params) -> None:
    run(params, project)

    row = pd.read_parquet(project / "artifacts/evaluate/per_image.parquet").iloc[3]
    path = project / f"artifacts/evaluate/predictions/{row['image_id']}.png"
    truth = read_mask(project / f"data/COVID/masks/{row['image_id'].split('/')[1]}.png")
    counts = confusion(read_mask(path), truth)
    assert counts == Counts(row["tp"], row["fp"], row["fn"], row["tn"])
    assert {name: row[name] for name in SCORES} == score(counts).model_dump()
    with Image.open(path) as picture:
        assert (picture.mode, set(np.unique(np.asarray(picture)))) == ("L", {0, 255})


def test_the_metrics_have_every_key_a_reader_relies_on(project: Path, params: Params) -> None:
    run(params, project)

    metrics = read_json(project / "artifacts/evaluate/metrics.json")
    assert {
        "cases",
        *MEASURES,
        "failures",
        "dice_min",
        "pooled",
        "worst_class_dice",
        "intervals",
    } < set(metrics)
    assert metrics["cases"] == 10
    assert set(metrics["pooled"]) == set(SCORES)
    assert {name: means["cases"] for name, means in metrics["classes"].items()} == {
        "COVID": 5,
        "Normal": 5,
    }
    assert 0.5 < metrics["dice_min"] < metrics["dice"] < 1


def test_the_table_by_class_repeats_the_metrics(project: Path, params: Params) -> None:
    run(params, project)

    classes = read_json(project / "artifacts/evaluate/metrics.json")["classes"]
    with (project / "artifacts/evaluate/per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == ["COVID", "Normal"]
    assert float(rows[0]["dice"]) == classes["COVID"]["dice"]
    assert list(rows[0]) == ["class_name", "cases", *MEASURES]


def test_a_second_run_writes_the_same_bytes(project: Path, params: Params) -> None:
    hashes = []
    for _ in range(2):
        run(params, project)
        files = sorted((project / "artifacts/evaluate").rglob("*.*"))
        hashes.append({file: sha256_file(file) for file in files if file.is_file()})

    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 7 + 2 * 10


def test_a_split_without_test_rows_is_refused_and_nothing_is_written(
    project: Path, params: Params
) -> None:
    path = project / "artifacts/split/split.csv"
    path.write_text(path.read_text().replace(",test,", ",train,"))

    with pytest.raises(StageError, match="found no test rows"):
        run(params, project)

    assert not (project / "artifacts/evaluate").exists()


def test_a_missing_model_is_refused(project: Path, params: Params) -> None:
    (project / "artifacts/train/model.onnx").unlink()

    with pytest.raises(StageError, match=r"model\.onnx: no such file.*run the stage train"):
        run(params, project)


def test_masks_are_scored_at_their_own_size(tmp_path: Path) -> None:
    rows = write_split(tmp_path, test=1, Normal=3)
    path = tmp_path / "data" / rows[0].mask_path
    with Image.open(path) as mask:
        mask.resize((100, 90), Image.Resampling.NEAREST).save(path)
    (row,) = rows
    rows = [replace(row, mask_sha256=sha256_file(path))]

    (image,) = score_images(StandIn(), rows, tmp_path / "data", PARAMS)

    assert sum(image.counts) == 100 * 90


def test_scoring_holds_one_batch_at_a_time_and_keeps_the_order(tmp_path: Path) -> None:
    rows = write_split(tmp_path, test=10, Normal=12)
    predictor = StandIn()

    images = score_images(predictor, rows[::-1], tmp_path / "data", PARAMS)

    assert predictor.batches == [4, 4, 2]
    assert [image.image_id for image in images] == [row.image_id for row in rows[::-1]]


class Even(StandIn):
    """Gives every pixel the same probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def _segment(self, image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        return np.full(size, self.probability, np.float32)


@pytest.mark.parametrize(("threshold", "recall"), [(0.4, 1), (0.5, 1), (0.6, 0)])
def test_a_pixel_is_lung_from_the_threshold_on(
    tmp_path: Path, threshold: float, recall: float
) -> None:
    rows = write_split(tmp_path, test=1, Normal=3)
    params = EvaluateParams(threshold=threshold, batch_size=1, robustness_cases=0)

    (image,) = score_images(Even(0.5), rows, tmp_path / "data", params)

    assert image.scores.recall == recall


def test_probabilities_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    rows = write_split(tmp_path, test=1, Normal=3)

    with pytest.raises(StageError, match=r"Normal/Normal-1: .* not finite"):
        score_images(Even(float("nan")), rows, tmp_path / "data", PARAMS)


@pytest.mark.parametrize("half", ["images", "masks"])
def test_a_file_that_is_not_the_one_split_is_refused_by_name(tmp_path: Path, half: str) -> None:
    rows = write_split(tmp_path, test=2, Normal=4)
    folder = tmp_path / "data/Normal" / half
    (folder / "Normal-4.png").replace(folder / "Normal-2.png")

    with pytest.raises(DatasetError, match=rf"{half}/Normal-2\.png: .*"):
        score_images(StandIn(), rows, tmp_path / "data", PARAMS)


def test_a_missing_radiograph_is_refused_by_name(tmp_path: Path) -> None:
    rows = write_split(tmp_path, test=1, Normal=3)
    (tmp_path / "data" / rows[0].image_path).unlink()

    with pytest.raises(UnreadableError, match=r"Normal-1\.png: no such file"):
        score_images(StandIn(), rows, tmp_path / "data", PARAMS)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras on NumPy 2
def test_the_stage_runs_with_an_exported_network(tmp_path: Path, params: Params) -> None:
    import keras

    from pipeline.model.export import export_network

    rows = write_split(tmp_path, test=3, Normal=5)
    write_training(tmp_path)
    dark = keras.layers.Dense(1, "sigmoid")
    radiograph = keras.Input((32, 32, 1))
    network = keras.Model(radiograph, dark(radiograph))
    dark.set_weights([np.array([[-1.0]]), np.array([125.0])])
    export_network(network, tmp_path / "artifacts/train/model.onnx")

    run(params, tmp_path)

    table = pd.read_parquet(tmp_path / "artifacts/evaluate/per_image.parquet")
    found = pixel_sha256(read_radiograph(tmp_path / "data" / rows[0].image_path))
    assert table.loc[0, "pixel_sha256"] == found
    assert table["dice"].min() > 0.9


def test_a_network_of_one_convention_leaves_an_empty_table(project: Path, params: Params) -> None:
    run(params, project)

    text = (project / "artifacts/evaluate/conventions.csv").read_text()
    assert text.splitlines() == [
        "image_id,class_name,split,convention,convention_by,asked,dice,predicted_area,lung_area"
    ]
    metrics = read_json(project / "artifacts/evaluate/metrics.json")
    assert (metrics["conventions"], metrics["confirmed"]) == ({}, None)


@pytest.fixture
def bilingual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose data and network know two conventions."""
    write_bilingual(tmp_path, test=5, COVID=7, Normal=8)
    monkeypatch.setattr(evaluate, "Predictor", lambda path: Bilingual())
    return tmp_path


def test_each_radiograph_is_scored_in_its_own_convention_and_asked_in_all(
    bilingual: Path, params: Params
) -> None:
    run(params, bilingual)

    table = pd.read_parquet(bilingual / "artifacts/evaluate/per_image.parquet")
    asked = pd.read_csv(bilingual / "artifacts/evaluate/conventions.csv", keep_default_na=False)
    own = asked[asked["asked"] == asked["convention"]].set_index("image_id")
    others = asked[asked["asked"] != asked["convention"]].set_index("image_id")
    assert len(own) == len(others) == 15
    assert dict(own["split"].value_counts()) == {"test": 10, "train": 3, "val": 2}
    assert own.loc[table["image_id"], "dice"].tolist() == pytest.approx(table["dice"].tolist())
    assert set(own["convention"]) == {"standard", "heart"}
    larger = asked.pivot(index="image_id", columns="asked", values="predicted_area")
    assert (larger["heart"] > larger["standard"]).all()
    right = own.index != "Normal/Normal-1"
    assert (own["dice"] > others["dice"])[right].all()


def test_scores_are_given_by_convention_and_of_the_confirmed(
    bilingual: Path, params: Params
) -> None:
    run(params, bilingual)

    metrics = read_json(bilingual / "artifacts/evaluate/metrics.json")
    assert {name: one["cases"] for name, one in metrics["conventions"].items()} == {
        "standard": 5,
        "heart": 5,
    }
    assert metrics["conventions"]["heart"]["dice"] == metrics["classes"]["COVID"]["dice"]
    assert metrics["confirmed"]["cases"] == 1


def test_robustness_is_of_the_radiographs_own_convention(bilingual: Path, params: Params) -> None:
    run(params, bilingual)

    table = pd.read_parquet(bilingual / "artifacts/evaluate/per_image.parquet")
    robustness = pd.read_parquet(bilingual / "artifacts/evaluate/robustness.parquet")
    unchanged = robustness[robustness["perturbation"] == "none"].set_index("image_id")["dice"]
    scores = table.set_index("image_id")["dice"]
    assert set(table.set_index("image_id").loc[unchanged.index, "convention"]) == {
        "standard",
        "heart",
    }
    assert unchanged.tolist() == pytest.approx(scores[unchanged.index].tolist())
    gentle = robustness[(robustness["grade"] == 1) & (robustness["class_name"] == "COVID")]
    assert gentle["dice"].max() > 0.98 * scores[scores.index.str.startswith("COVID")].min()


def test_masks_that_another_convention_explains_better_are_logged(
    bilingual: Path, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    run(params, bilingual)

    assert "another convention explains 1 masks better" in caplog.text


def test_a_convention_that_the_network_does_not_know_is_asked_for_in_its_default(
    bilingual: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(evaluate, "Predictor", lambda path: StandIn())

    run(params, bilingual)

    assert "knows no convention heart; it was asked for standard there" in caplog.text
    assert len(pd.read_csv(bilingual / "artifacts/evaluate/conventions.csv")) == 0
