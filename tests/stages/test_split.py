from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.files import read_json
from pipeline.params import Params, SplitParams
from pipeline.stages.split import run, side

SHARES = SplitParams(val=0.15, test=0.15)


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_manifest(root: Path, classes: dict[str, list[str]]) -> None:
    rows = [
        {
            "image_id": f"{name}/{name}-{number}",
            "class_name": name,
            "image_path": f"{name}/images/{name}-{number}.png",
            "mask_path": f"{name}/masks/{name}-{number}.png",
            "pixel_sha256": sha256,
        }
        for name, digests in classes.items()
        for number, sha256 in enumerate(digests)
    ]
    (root / "artifacts/validate").mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(root / "artifacts/validate/manifest.parquet")


def test_sides_come_in_the_shares_asked_for() -> None:
    sides = pd.Series([side(digest(number), SHARES) for number in range(20_000)])

    shares = sides.value_counts(normalize=True)

    assert shares["train"] == pytest.approx(0.70, abs=0.01)
    assert shares["val"] == pytest.approx(0.15, abs=0.01)
    assert shares["test"] == pytest.approx(0.15, abs=0.01)


@given(st.binary(min_size=32, max_size=32), st.floats(0.01, 0.5), st.floats(0.01, 0.4))
def test_a_larger_test_share_keeps_every_test_radiograph_in_test(
    content: bytes,
    share: float,
    more: float,
) -> None:
    if side(content.hex(), SplitParams(val=0.05, test=share)) == "test":
        assert side(content.hex(), SplitParams(val=0.05, test=share + more)) == "test"


def test_a_radiograph_keeps_its_side_when_the_dataset_grows(tmp_path: Path, params: Params) -> None:
    digests = [digest(number) for number in range(400)]
    write_manifest(tmp_path / "small", {"Normal": digests[:100]})
    write_manifest(
        tmp_path / "large",
        {"COVID": digests[200:], "Normal": digests[100:200][::-1] + digests[:100]},
    )

    for name in ("small", "large"):
        run(params, tmp_path / name)

    small, large = (
        pd.read_csv(tmp_path / name / "artifacts/split/split.csv") for name in ("small", "large")
    )
    both = small.merge(large, on="pixel_sha256")
    assert len(both) == 100
    assert (both["split_x"] == both["split_y"]).all()


def test_equal_pictures_in_two_classes_share_a_side(tmp_path: Path, params: Params) -> None:
    digests = [digest(number) for number in range(100)]
    write_manifest(tmp_path, {"COVID": digests, "Normal": digests})

    run(params, tmp_path)

    rows = pd.read_csv(tmp_path / "artifacts/split/split.csv")
    assert (rows.groupby("pixel_sha256")["split"].nunique() == 1).all()


def test_the_summary_counts_sides_by_class(tmp_path: Path, params: Params) -> None:
    write_manifest(tmp_path, {"COVID": [digest(n) for n in range(200)]})

    line = run(params, tmp_path)

    summary = read_json(tmp_path / "artifacts/split/split.json")
    assert summary["classes"]["COVID"]["test"] == summary["test"]
    assert summary["train"] + summary["val"] + summary["test"] == 200
    assert line == f"split: {summary['train']} train, {summary['val']} val, {summary['test']} test"


def test_a_class_of_two_radiographs_is_refused_and_nothing_is_written(
    tmp_path: Path,
    params: Params,
) -> None:
    write_manifest(tmp_path, {"COVID": [digest(1), digest(2)]})

    with pytest.raises(StageError, match="class COVID has 2 radiographs and none in"):
        run(params, tmp_path)

    assert not (tmp_path / "artifacts/split").exists()
