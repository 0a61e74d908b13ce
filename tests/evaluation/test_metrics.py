from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from pipeline.evaluation.metrics import (
    PER_IMAGE,
    ImageScores,
    Metrics,
    image_scores,
    per_class_table,
    per_image_table,
)
from pipeline.evaluation.scores import Counts, score


def images_of(*images: tuple[str, Counts]) -> list[ImageScores]:
    return [
        ImageScores(
            f"{name}/{number}", name, f"{number}", f"{name}/{number}", counts, score(counts)
        )
        for number, (name, counts) in enumerate(images)
    ]


def table_of(*images: tuple[str, Counts]) -> pd.DataFrame:
    return per_image_table(images_of(*images))


def test_a_mean_weighs_images_equally_and_the_pooled_value_weighs_pixels() -> None:
    table = table_of(("Normal", Counts(10, 0, 0, 90)), ("Normal", Counts(30, 60, 0, 10)))

    summary = Metrics.of(table)

    assert summary.dice == pytest.approx((1 + 60 / 120) / 2)
    assert summary.pooled.dice == pytest.approx(80 / 140)
    assert summary.cases == 2


def test_a_summary_tells_the_low_end_of_dice() -> None:
    table = table_of(*[("Normal", Counts(n, 100 - n, 100 - n, 0)) for n in range(101)])

    summary = Metrics.of(table)

    assert summary.dice_median == pytest.approx(0.50)
    assert summary.dice_p05 == pytest.approx(0.05)
    assert summary.dice_min == 0


def test_the_worst_class_is_the_one_with_the_lowest_mean_dice() -> None:
    table = table_of(
        ("Normal", Counts(9, 1, 0, 9)),
        ("COVID", Counts(5, 5, 0, 9)),
        ("COVID", Counts(9, 0, 0, 9)),
    )

    summary = Metrics.of(table)

    assert list(summary.classes) == ["COVID", "Normal"]
    assert summary.classes["COVID"].cases == 2
    assert summary.worst_class_dice == summary.classes["COVID"].dice < summary.dice


def test_metrics_survive_their_file(tmp_path: Path) -> None:
    metrics = Metrics.of(table_of(("Normal", Counts(0, 0, 0, 4)), ("COVID", Counts(0, 0, 4, 0))))

    metrics.write(tmp_path / "metrics.json")

    assert Metrics.read(tmp_path / "metrics.json") == metrics


def test_metrics_that_are_no_numbers_can_be_read_and_not_written(tmp_path: Path) -> None:
    metrics = Metrics.of(table_of(("Normal", Counts(1, 1, 1, 1)))).model_copy(
        update={"dice": math.nan}
    )

    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics.write(tmp_path / "metrics.json")

    (tmp_path / "metrics.json").write_text(json.dumps(metrics.model_dump()))
    assert math.isnan(Metrics.read(tmp_path / "metrics.json").dice)


def test_the_rows_of_images_survive_their_table(tmp_path: Path) -> None:
    images = images_of(("Normal", Counts(1, 2, 3, 4)), ("NA", Counts(0, 0, 4, 0)))

    PER_IMAGE.write(tmp_path / "per_image.parquet", per_image_table(images))

    assert image_scores(PER_IMAGE.read(tmp_path / "per_image.parquet")) == images


def test_the_table_of_classes_repeats_the_metrics() -> None:
    metrics = Metrics.of(table_of(("Normal", Counts(9, 1, 0, 9)), ("COVID", Counts(5, 5, 0, 9))))

    table = per_class_table(metrics)

    assert table["class_name"].tolist() == ["COVID", "Normal"]
    assert table["dice"].tolist() == [metrics.classes[name].dice for name in ("COVID", "Normal")]
