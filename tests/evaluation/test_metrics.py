from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.confidence import Confidence
from pipeline.evaluation.metrics import Metrics, differing_metrics, per_class_table, source_names
from pipeline.evaluation.per_image import (
    MEASURES,
    PER_IMAGE,
    ImageScores,
    image_scores,
    per_image_table,
)
from pipeline.evaluation.scores import Counts
from tests.evaluation.images import image_of


def images_of(*images: tuple[str, Counts]) -> list[ImageScores]:
    return [image_of(f"{name}/{number}", counts) for number, (name, counts) in enumerate(images)]


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

    assert summary.medians["dice"] == pytest.approx(0.50)
    assert summary.p05["dice"] == pytest.approx(0.05)
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
    counts = (Counts(1, 2, 3, 4), Counts(0, 0, 4, 0))
    images = [image_of(f"NA/{number}", one, spacing=1.4) for number, one in enumerate(counts)]

    PER_IMAGE.write(tmp_path / "per_image.parquet", per_image_table(images))

    assert image_scores(PER_IMAGE.read(tmp_path / "per_image.parquet")) == images


def test_the_table_of_classes_repeats_the_metrics() -> None:
    metrics = Metrics.of(table_of(("Normal", Counts(9, 1, 0, 9)), ("COVID", Counts(5, 5, 0, 9))))

    table = per_class_table(metrics)

    assert table["class_name"].tolist() == ["COVID", "Normal"]
    assert table["dice"].tolist() == [metrics.classes[name].dice for name in ("COVID", "Normal")]


def test_each_mean_has_an_interval_and_the_bad_ends_are_told() -> None:
    images = [
        image_of(f"N/{n}", Counts(90 - n, 0, 10 + n, 900), hd95=n, group=f"{n // 2}")
        for n in range(40)
    ]

    summary = Metrics.of(per_image_table(images))

    assert set(summary.intervals) == {*MEASURES, *Confidence._fields, "failures"}
    for name in ("accuracy", "dice", "hd95", "failures"):
        low, high = summary.intervals[name]
        assert low < getattr(summary, name) < high
    assert (summary.cases, summary.groups) == (40, 20)
    assert summary.p05["dice"] < summary.medians["dice"]
    assert summary.p95["hd95"] == pytest.approx(37.05)
    assert "hd95" not in summary.p05
    assert summary.failures == pytest.approx(np.mean([image.scores.dice < 0.9 for image in images]))
    assert summary.right.dice == summary.dice
    assert summary.left.dice == 1


def test_millimetres_are_of_the_radiographs_whose_spacing_is_known() -> None:
    known = image_of("N/1", Counts(9, 1, 0, 9), hd95=4, spacing=1.5)
    unknown = image_of("N/2", Counts(9, 1, 0, 9), hd95=40)

    both, none = (Metrics.of(per_image_table(rows)) for rows in ([known, unknown], [unknown]))

    assert (both.with_spacing, both.hd95_mm, both.assd_mm) == (1, 6, 3)
    assert (none.with_spacing, none.hd95_mm, none.assd_mm) == (0, None, None)


def test_small_sources_are_one_and_what_is_not_recorded_is_said() -> None:
    source = pd.Series(["a"] * 10 + ["b"] * 9 + ["c"] + [""] * 3)

    assert source_names(source).value_counts().to_dict() == {
        "a": 10,
        "(other sources)": 10,
        "(not recorded)": 3,
    }


@pytest.mark.parametrize(
    "path", ["dice", "intervals.dice.0", "classes.N.p05.nsd", "left.medians.assd"]
)
def test_a_number_that_does_not_follow_from_the_table_is_named(path: str) -> None:
    table = table_of(("N", Counts(9, 1, 0, 9)), ("N", Counts(8, 1, 1, 9)))
    content = Metrics.of(table).model_dump(mode="json")
    *keys, last = path.split(".")
    place: Any = content
    for key in keys:
        place = place[key]
    place[int(last) if last.isdigit() else last] += 0.01

    assert differing_metrics(Metrics.of(table), table) == []
    assert differing_metrics(Metrics.model_validate_json(json.dumps(content)), table) == [path]
