"""The stage validate against every fault a dataset is known to have, planted among good pairs.

Numbers are those of the list of faults: 1 to 14 are single bad files, 15 to 18 need the dataset as
a whole, 19 and 20 other conventions, 21 hostile paths. Fault 22, hostile archives, is in
tests/dataset/test_zips.py; that duplicates share a split is in tests/stages/test_split.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from pipeline.dataset.synthetic.phantom import write_dataset
from pipeline.files import read_json
from pipeline.params_file import override
from pipeline.settings import child_environment
from tests.conftest import PROJECT
from tests.stages.faults import (
    CLASS,
    HOSTILE,
    PATIENT,
    SPOILT,
    TOLERATED,
    plant_files,
    plant_hostile_paths,
    plant_pairs_of_pairs,
    source,
)

pytestmark = pytest.mark.slow

GOOD = 300  # fewer are too few to tell a mirrored radiograph by


@dataclass(frozen=True)
class Outcome:
    """What one run of the stage left behind."""

    root: Path
    folder: Path
    exit_code: int
    printed: str

    @property
    def manifest(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "manifest.parquet").set_index("image_id")

    @property
    def quarantine(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "quarantine.csv", keep_default_na=False)


def validate(root: Path, folder: str, **settings: object) -> Outcome:
    """Run the stage as DVC does, with its parameters changed."""
    shutil.copyfile(PROJECT / "params.yaml", root / "params.yaml")
    override(root / "params.yaml", [f"validate.{key}={value}" for key, value in settings.items()])
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "stage", "validate"],
        cwd=root,
        env=child_environment(PYTHONPATH=str(PROJECT)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Outcome(root, root / "artifacts" / folder, done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "data"
    write_dataset(folder, pairs=GOOD, seed=5, workers=1)
    return folder


@pytest.fixture(scope="module")
def outcome(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run over all faults at once, which is told to put up with them."""
    root = tmp_path_factory.mktemp("faults")
    data = Path(shutil.copytree(good, root / "data"))
    plant_files(data)
    plant_pairs_of_pairs(data)
    plant_hostile_paths(data)
    return validate(root, "validate", max_quarantined=0.9)


def test_the_run_goes_on_with_all_good_pairs(outcome: Outcome, good: Path) -> None:
    planted = {f"{CLASS}/{name}" for name in (*TOLERATED, "twin 1", "twin 2")}
    before = {f"{path.parts[-3]}/{path.stem}" for path in good.glob("*/images/*.png")}

    assert outcome.exit_code == 0, outcome.printed
    assert set(outcome.manifest.index) == before | planted
    assert not (outcome.root / "artifacts/validate-refused").exists()


@pytest.mark.parametrize("name", SPOILT, ids=[f"{one[0]} {name}" for name, one in SPOILT.items()])
def test_a_spoilt_file_is_quarantined_with_its_reason(outcome: Outcome, name: str) -> None:
    _, reason, _ = SPOILT[name]
    rows = outcome.quarantine.set_index("image_id").loc[[f"{CLASS}/{name}"]]

    assert rows["reason"].tolist() == [reason]
    half = "masks" if reason.startswith("mask") or "mask" in name else "images"
    assert rows["path"].tolist() == [f"{CLASS}/{half}/{name}.png"]
    assert rows["found"].all()
    assert rows["remedy"].all()
    assert f"{CLASS}/{half}/{name}.png: {reason}: " in outcome.printed


@pytest.mark.parametrize(
    "name", TOLERATED, ids=[f"{one[0]} {name}" for name, one in TOLERATED.items()]
)
def test_what_only_looks_odd_stays_and_is_flagged(outcome: Outcome, name: str) -> None:
    _, flag, _ = TOLERATED[name]
    row = outcome.manifest.loc[f"{CLASS}/{name}"]

    assert set(flag.split()) <= set(row["flags"].split())


def test_16_bits_are_scaled_by_their_depth(outcome: Outcome) -> None:
    image, _ = source(len(SPOILT) + list(TOLERATED).index("16 bits"))
    row = outcome.manifest.loc[f"{CLASS}/16 bits"]

    assert row["mean"] == pytest.approx(image.mean(), abs=0.01)
    assert row["std"] == pytest.approx(image.std(), abs=0.01)


def test_exif_does_not_turn_a_radiograph(outcome: Outcome) -> None:
    row = outcome.manifest.loc[f"{CLASS}/exif"]

    assert (row["width"], row["height"]) == (299, 280)


@pytest.mark.parametrize(
    ("image_id", "found"),
    [
        ("no mask", ("Normal/images/no mask.png", "no mask Normal/masks/no mask.png")),
        ("no image", ("Normal/masks/no image.png", "no radiograph Normal/images/no image.png")),
        ("Case", ("Normal/images/Case.PNG", "Normal/masks/case.png")),
    ],
)
def test_15_halves_are_one_row_with_both_names(
    outcome: Outcome, image_id: str, found: tuple[str, str]
) -> None:
    rows = outcome.quarantine.set_index("image_id").loc[[f"{CLASS}/{image_id}"]]

    assert rows["reason"].tolist() == ["unpaired"]
    assert all(part in rows["found"].iloc[0] for part in found)


def test_16_and_17_duplicates_stay_and_can_be_kept_together(outcome: Outcome) -> None:
    twins = outcome.manifest.loc[[f"{CLASS}/twin 1", f"{CLASS}/twin 2"]]

    for column in ("pixel_sha256", "mask_pixel_sha256", "perceptual_hash"):
        assert twins[column].nunique() == 1
    assert twins["image_sha256"].nunique() == 2
    assert twins["patient"].tolist() == ["46", "46"]
    assert twins["source"].tolist() == ["https://example.org/1"] * 2
    assert f"the same picture more than once: {CLASS}/twin 1, {CLASS}/twin 2" in outcome.printed


def test_18_one_radiograph_with_two_masks_is_quarantined_twice(outcome: Outcome) -> None:
    rows = outcome.quarantine[outcome.quarantine["reason"] == "label_conflict"]

    assert rows["image_id"].tolist() == [f"{CLASS}/contested 1", f"{CLASS}/contested 2"]
    assert rows["found"].str.extract("as (.*),")[0].tolist() == [
        f"{CLASS}/contested 2",
        f"{CLASS}/contested 1",
    ]


def test_20_a_patient_is_never_named(outcome: Outcome) -> None:
    assert PATIENT not in outcome.printed
    assert not any(
        PATIENT.encode() in path.read_bytes()
        for path in outcome.folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_21_a_hostile_path_is_never_opened(outcome: Outcome, name: str) -> None:
    shown = f"{CLASS}/images/{name}.png"
    shown = shown if shown.isprintable() else repr(shown)[1:-1]
    rows = outcome.quarantine.set_index("path").loc[[shown]]

    assert rows["reason"].tolist() == ["path"]
    assert f"{CLASS}/{name}" not in outcome.manifest.index


def test_the_summary_counts_reasons_and_flags(outcome: Outcome) -> None:
    summary = read_json(outcome.folder / "validation.json")

    assert summary["quarantined"] == len(outcome.quarantine)
    assert summary["reasons"]["truncated"] == 5
    assert summary["flags"]["one_lung"] >= 1
    assert (outcome.folder / "page/index.html").exists()
    assert (outcome.folder / "data_docs/index.html").exists()


def test_too_many_bad_pairs_stop_the_run_and_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset(data, pairs=60, seed=5, workers=1)
    spoilt = [f"COVID/masks/COVID-{number}.png" for number in (1, 2, 3, 4)]
    for path in spoilt:
        (data / path).write_bytes(b"")

    refused = validate(tmp_path, "validate-refused")

    assert refused.exit_code == 1
    last = refused.printed.splitlines()[-1]
    assert last.startswith("error: validate: more than validate.max_quarantined=0.05 unusable")
    assert all(f"{path} (empty_file" in last for path in spoilt)
    assert not (tmp_path / "artifacts/validate").exists()
    assert refused.quarantine["path"].tolist() == spoilt
    assert len(refused.manifest) == 60 - len(spoilt)
    for kept in ("validation.json", "data_docs/index.html", "page/index.html"):
        assert (refused.folder / kept).exists()


def test_a_dataset_without_one_usable_pair_stops_the_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset(data, pairs=4, seed=5, workers=1)
    for path in data.glob("*/masks/*.png"):
        path.write_bytes(b"")

    refused = validate(tmp_path, "validate-refused")

    assert refused.exit_code == 1
    assert "no usable pair" in refused.printed.splitlines()[-1]
    assert refused.quarantine["reason"].tolist() == ["empty_file"] * 4
