"""Stages that several hosts do a part of each: the result has the bytes of one piece."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import tasks
from pipeline.errors import StageError
from pipeline.files import SUMS, sums_hold
from pipeline.params import Params
from pipeline.parts import EXIT_CODE, all_parts
from pipeline.settings import child_environment
from pipeline.stages import augment, split, validate
from tests.conftest import PROJECT, write_dataset

STAGES = {"validate": validate, "augment": augment}


def in_parts(params: Params, count: int) -> Params:
    augmented = params.augment.model_copy(update={"image_size": 32, "copies": 2})
    stages = params.stages.model_copy(update={"parts": count})
    return params.model_copy(update={"stages": stages, "augment": augmented})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A dataset with two pairs that are set aside, and its stages in one piece."""
    root = tmp_path_factory.mktemp("made")
    write_dataset(root / "data", {"COVID": 25, "Normal": 30})
    (root / "data/COVID/images/COVID-3.png").write_bytes(b"no picture")
    Image.new("L", (256, 256)).save(root / "data/Normal/masks/Normal-30.png")
    for stage in (validate, split, augment):
        stage.run(in_parts(params, 1), root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "root")
    return tmp_path / "root"


def hashes(folder: Path) -> dict[str, str]:
    """The hash of every file, but of Data Docs: they show when they were made."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in found if "data_docs" not in path.parts]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(("count", "missing"), [(2, []), (3, [2]), (64, [1, 64])])
def test_parts_put_together_are_the_bytes_of_one_piece(
    root: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    count: int,
    missing: list[int],
) -> None:
    stage, parts = STAGES[name], root / "parts" / name
    params = in_parts(params, count)
    whole = hashes(root / "artifacts" / name)
    for part in all_parts(count):
        if part.number not in missing:
            (parts / part.folder).mkdir(parents=True)
            stage.run_part(params, root, part, parts / part.folder)
    shutil.rmtree(root / "artifacts" / name)
    monkeypatch.setenv("LUNGSEG_PARTS", str(parts))

    stage.run(params, root)

    assert hashes(root / "artifacts" / name) == whole


@pytest.mark.parametrize("name", STAGES)
def test_what_a_part_holds_is_not_done_again(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    params, parts = in_parts(params, 2), root / "parts" / name
    for part in all_parts(2):
        (parts / part.folder).mkdir(parents=True)
        STAGES[name].run_part(params, root, part, parts / part.folder)
    monkeypatch.setenv("LUNGSEG_PARTS", str(parts))

    def fail(*_: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("pipeline.dataset.validation.whole._inspect_all", fail)
    monkeypatch.setattr("pipeline.stages.augment._write_all", fail)

    STAGES[name].run(params, root)


@pytest.mark.parametrize("name", STAGES)
def test_the_parts_of_another_stage_are_none_of_this_one(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole, other = hashes(root / "artifacts" / name), root / "parts/another"
    for part in all_parts(2):
        (other / part.folder).mkdir(parents=True)
    shutil.rmtree(root / "artifacts" / name)
    monkeypatch.setenv("LUNGSEG_PARTS", str(other))

    STAGES[name].run(in_parts(params, 2), root)

    assert hashes(root / "artifacts" / name) == whole


def test_the_command_does_all_of_a_stage_before_the_one_that_a_part_is_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(PROJECT / "params.yaml", root / "params.yaml")
    monkeypatch.chdir(root)
    monkeypatch.setenv("LUNGSEG_HOME", str(root / "home"))
    monkeypatch.setenv("LUNGSEG_PART", "2/4")
    monkeypatch.setenv("LUNGSEG_PARTS", str(root / "parts/augment"))

    tasks.stage("validate")

    assert capsys.readouterr().out == "validate: 53 pairs, 2 quarantined\n"
    assert not (root / "parts").exists()


def test_a_part_of_other_pairs_is_refused(
    root: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, parts = in_parts(params, 2), root / "parts/validate"
    for part in all_parts(2):
        (parts / part.folder).mkdir(parents=True)
        validate.run_part(params, root, part, parts / part.folder)
    (root / "data/COVID/images/COVID-4.png").unlink()
    (root / "data/COVID/masks/COVID-4.png").unlink()
    monkeypatch.setenv("LUNGSEG_PARTS", str(parts))

    with pytest.raises(
        StageError, match=r"1-of-2: is of 27 pairs, expected the 27 of this part; remove it, then"
    ):
        validate.run(params, root)


def test_thumbnails_of_a_part_keep_their_bits(root: Path, params: Params, tmp_path: Path) -> None:
    for part in all_parts(1):
        validate.run_part(in_parts(params, 1), root, part, tmp_path)

    thumbnails = np.load(tmp_path / "thumbnails.npy")

    assert (thumbnails.dtype, thumbnails.shape) == (np.float32, (53, 32, 32))


@pytest.mark.slow  # the command in a process of its own
def test_the_command_leaves_a_whole_part_and_an_exit_code_that_is_not_success(
    root: Path, tmp_path: Path
) -> None:
    shutil.copy(PROJECT / "params.yaml", root / "params.yaml")
    parts = tmp_path / "parts/validate"
    places = {"LUNGSEG_PARTS": str(parts), "LUNGSEG_HOME": str(tmp_path / "home")}
    before = hashes(root / "artifacts")

    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "stage", "validate"],
        cwd=root,
        env=child_environment(LUNGSEG_PART="2/2", PYTHONPATH=str(PROJECT), **places),
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout) == (EXIT_CODE, "validate: part 2/2: 28 pairs\n")
    assert sums_hold(parts / "2-of-2")
    assert (parts / "2-of-2" / SUMS).is_file()
    assert hashes(root / "artifacts") == before
