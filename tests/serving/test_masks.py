from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError, StageError
from pipeline.radiograph.grey import Grey
from pipeline.serving import masks as module
from pipeline.serving import prediction_table
from pipeline.serving.masks import Asked, Predictions, predict_files
from pipeline.serving.prediction_table import COLUMNS_BEFORE, PARTIAL, TABLE, open_table
from pipeline.settings import Settings
from tests.conftest import draw_pair


class Model:
    """A released model that takes what is dark for lung, and counts what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.network = folder
        self.asked = 0
        for name in ("model.keras", "model.onnx"):
            (folder / name).write_text(name)

    def segmenter(self, level: int) -> Model:
        return self

    conventions = ("standard", "heart")

    def predict(self, images: Sequence[Grey], sizes: Any, conventions: Sequence[str]) -> list[Any]:
        self.asked += len(images)
        darkest = [120 if name == "standard" else 80 for name in conventions]
        return [
            np.where(image < grey, 0.9, 0.1).astype(np.float32)
            for image, grey in zip(images, darkest, strict=True)
        ]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    (tmp_path / "model").mkdir()
    made = Model(tmp_path / "model")
    release = type("Release", (), {"model": made, "threshold": 0.5})
    monkeypatch.setattr(module, "fetch_release", lambda *_: release)
    return made


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.png", "deep/c.png"]):
        draw_pair(number)[0].save(folder / name)
    return folder


def predict(paths: Path | list[Path], out: Path, convention: str | None = None) -> Predictions:
    given = paths if isinstance(paths, list) else [paths]
    asked = Asked(convention=convention)
    return predict_files(Settings(), given, out, "models:/m@champion", asked)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_each_mask_is_in_the_table_with_what_made_it(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"

    done = predict(scans, out)

    assert (done.done, done.before, done.problems, done.passed_over) == (3, 0, [], "")
    assert sorted(hashes(out)) == ["a.png", "b.png", "deep/c.png", TABLE]
    for row in rows(out):
        assert (
            row["radiograph_sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        )
        assert row["mask_sha256"] == hashlib.sha256(Path(row["mask"]).read_bytes()).hexdigest()
        assert len(row["model_sha256"]) == 64
        assert (row["level"], row["threshold"]) == ("0", "0.5")


def test_how_a_radiograph_was_read_is_in_the_table_and_said(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scans").mkdir()
    low = np.asarray(draw_pair(1)[0]).astype(np.uint16) * 16 + 100
    Image.fromarray(low).save(tmp_path / "scans/a.png")

    predict(tmp_path / "scans", tmp_path / "masks")

    (row,) = rows(tmp_path / "masks")
    assert "of the declared range 0 to 65535: spread from black to white" in row["notes"]
    assert f"{tmp_path / 'scans/a.png'}: {row['notes']}" in caplog.text


def test_a_run_goes_on_where_the_one_before_was_interrupted(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "masks", module._write

    def interrupted(path: Path, png: bytes) -> None:
        if path.name == "c.png":
            raise KeyboardInterrupt
        written(path, png)

    monkeypatch.setattr(module, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(scans, out)
    assert [Path(row["mask"]).name for row in rows(out)] == ["a.png", "b.png"]
    monkeypatch.setattr(module, "_write", written)

    done = predict(scans, out)

    assert (done.done, done.before, model.asked) == (3, 2, 4)
    assert [Path(row["mask"]).name for row in rows(out)] == ["a.png", "b.png", "c.png"]


def test_a_killed_run_leaves_masks_that_the_next_one_knows(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "masks"

    def killed(path: Path, png: bytes) -> None:
        path.write_bytes(png)
        if path.name == "b.png":
            shutil.copytree(out, tmp_path / "killed")
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(scans, out)
    monkeypatch.undo()
    with (tmp_path / "killed" / PARTIAL).open("a") as file:
        file.write("/cut/off.png,/half of a li")  # and no end
    release = type("Release", (), {"model": model, "threshold": 0.5})
    monkeypatch.setattr(module, "fetch_release", lambda *_: release)

    done = predict(scans, tmp_path / "killed")

    assert (done.done, done.before) == (3, 2)
    assert not (tmp_path / "killed" / PARTIAL).exists()


@pytest.mark.parametrize("change", ["model", "radiograph", "mask_removed"])
def test_what_would_be_another_mask_is_made_again(
    model: Model, scans: Path, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "masks"
    predict(scans, out)
    if change == "model":
        (model.network / "model.onnx").write_text("other")
    elif change == "radiograph":
        draw_pair(9)[0].save(scans / "a.png")
    else:
        (out / "a.png").unlink()

    done = predict(scans, out)

    assert done.before == (0 if change == "model" else 2)
    assert len(rows(out)) == 3


def test_a_run_by_another_model_that_is_interrupted_leaves_masks_that_are_known(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "masks", module._write
    predict(scans, out)
    (model.network / "model.onnx").write_text("other")
    monkeypatch.setattr(
        model, "predict", lambda images, *_: [np.ones(i.shape) * 0.9 for i in images]
    )

    def stopped(path: Path, png: bytes) -> None:
        if path.name == "b.png":
            shutil.copytree(out, tmp_path / "killed")  # as kill -9 leaves it
            raise KeyboardInterrupt
        written(path, png)

    monkeypatch.setattr(module, "_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict(scans, out)
    monkeypatch.setattr(module, "_write", written)

    assert sorted(hashes(out)) == ["a.png", "b.png", "deep/c.png", TABLE]
    for folder in (out, tmp_path / "killed"):
        done = predict(scans, folder)
        assert (done.done, done.before) == (3, 1)
        assert len({row["model_sha256"] for row in rows(folder)}) == 1


def test_the_table_holds_wherever_the_command_is_started(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    predict(scans / "a.png", Path("masks"))
    monkeypatch.chdir(scans)

    predict(scans / "b.png", tmp_path / "masks")
    done = predict(scans / "a.png", tmp_path / "masks")

    assert done.before == 1
    names = [Path(row["mask"]) for row in rows(tmp_path / "masks")]
    assert names == [tmp_path / "masks/a.png", tmp_path / "masks/b.png"]


def test_a_path_that_is_not_there_is_named_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.png: no such file or folder$"):
        predict(tmp_path / "none.png", tmp_path)


def test_masks_of_other_radiographs_stay_in_the_table(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    predict(scans / "a.png", out)
    predict(scans / "b.png", out)

    assert [Path(row["mask"]).name for row in rows(out)] == ["b.png", "a.png"]


def test_a_radiograph_that_went_bad_keeps_no_mask_of_what_it_was(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    predict(scans, out)
    (scans / "a.png").write_text("<html>")

    done = predict(scans, out)

    assert len(done.problems) == 1
    assert not (out / "a.png").exists()
    assert [row["error"] == "" for row in rows(out)] == [False, True, True]


PLACES: dict[str, tuple[str, str]] = {
    "equal": (".", "is the folder of the radiographs"),
    "inside": ("deep/masks", "lies among the radiographs"),
    "above": ("..", "holds the radiographs"),
    "through a link": ("../link/masks", "lies among the radiographs"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_that_radiographs_are_in_is_no_place_for_masks(
    scans: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "link").symlink_to(scans)
    before = hashes(tmp_path)
    relative, message = PLACES[place]

    with pytest.raises(DatasetError, match=rf"^--out .*: {message}.*; name another, beside it$"):
        predict(scans, scans / relative)

    assert hashes(tmp_path) == before
    assert not (scans / "deep/masks").exists()


def test_the_folder_of_a_single_radiograph_is_none_either(scans: Path) -> None:
    before = hashes(scans)

    for out in (scans, scans.parent):
        with pytest.raises(DatasetError, match=r"^--out .*; name another, beside it$"):
            predict(scans / "a.png", out)

    assert hashes(scans) == before


def stranger(out: Path) -> None:
    (out / "a.png").write_text("mine")


def changed(out: Path) -> None:
    Image.new("L", (64, 64)).save(out / "a.png")


def linked(out: Path) -> None:
    (out / "a.png").unlink(missing_ok=True)
    (out / "a.png").symlink_to(out.parent / "scans/b.png")


def other_table(out: Path) -> None:
    (out / TABLE).write_text("patient,finding\n1,none\n")


def file_for_folder(out: Path) -> None:
    shutil.rmtree(out / "deep", ignore_errors=True)
    (out / "deep").write_text("mine")


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("spoil", [stranger, changed, linked, other_table, file_for_folder])
def test_nothing_that_prediction_did_not_write_is_overwritten(
    model: Model, scans: Path, tmp_path: Path, spoil: Callable[[Path], None], *, before: bool
) -> None:
    out = tmp_path / "masks"
    out.mkdir()
    if before:
        predict(scans, out)
    spoil(out)
    asked, files = model.asked, hashes(out)

    with pytest.raises(DatasetError, match="--out"):
        predict(scans, out)

    assert hashes(out) == files
    assert model.asked == asked


def written_before(out: Path, columns: list[str]) -> None:
    """Make the table one that an earlier version wrote."""
    kept = [{name: row[name] for name in columns} for row in rows(out)]
    with (out / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)


@pytest.mark.parametrize(("columns", "kept"), [(COLUMNS_BEFORE[0], 3), (COLUMNS_BEFORE[1], 0)])
def test_masks_of_the_version_before_are_known_by_its_table(
    model: Model, scans: Path, tmp_path: Path, columns: list[str], kept: int
) -> None:
    out = tmp_path / "masks"
    predict(scans, out)
    written_before(out, columns)

    done = predict(scans, out)

    assert (done.done, done.before) == (3, kept)
    assert {row["convention"] for row in rows(out)} == {"standard"}


def test_another_convention_is_another_answer(model: Model, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    predict(scans, out)
    before = hashes(out)

    done = predict(scans, out, "heart")

    assert (done.done, done.before) == (3, 0)
    assert {row["convention"] for row in rows(out)} == {"heart"}
    assert predict(scans, out, "heart").before == 3
    predict(scans, out, "standard")
    assert hashes(out) == before


def test_rows_of_before_are_of_the_default_and_no_other_convention(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    predict(scans, out)
    written_before(out, COLUMNS_BEFORE[0])

    assert predict(scans, out, "heart").before == 0


def test_a_convention_that_the_network_does_not_know_is_refused_and_nothing_is_written(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        StageError, match=r"^convention: found 'lungs', expected one .*: standard, heart; ask for"
    ):
        predict(scans, tmp_path / "new/masks", "lungs")

    assert not (tmp_path / "new").exists()
    assert model.asked == 0


def test_a_full_disk_ends_in_one_line_and_loses_no_row(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        if path.name == "b.png":
            raise OSError(28, "No space left on device")
        return atomic(path)

    atomic = module.atomic_path
    monkeypatch.setattr(module, "atomic_path", full)

    with pytest.raises(DatasetError, match=r"b.png: No space left on device; make room or choose"):
        predict(scans, tmp_path / "masks")

    assert [Path(row["mask"]).name for row in rows(tmp_path / "masks")] == ["a.png"]


def test_a_disk_that_is_too_full_for_the_table_loses_no_row_either(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        if len(list(path.parent.glob("*.png"))) == 2:
            raise OSError(28, "No space left on device", str(path))
        return atomic(path)

    atomic, out = prediction_table.atomic_path, tmp_path / "masks"
    for of_module in (module, prediction_table):
        monkeypatch.setattr(of_module, "atomic_path", full)

    with pytest.raises(DatasetError, match=r"predictions.csv: No space left on device; make room"):
        predict(scans, out)
    monkeypatch.undo()

    assert (out / PARTIAL).exists()
    with open_table(out) as table:
        assert sorted(path.name for path in table.masks()) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("readable", [True, False])
def test_the_mask_of_another_radiograph_is_neither_replaced_nor_removed(
    model: Model, scans: Path, tmp_path: Path, readable: bool
) -> None:
    out, ward = tmp_path / "masks", tmp_path / "ward"
    predict(scans, out)
    before = hashes(out)
    ward.mkdir()
    draw_pair(9)[0].save(ward / "a.png")
    if not readable:
        (ward / "a.png").write_bytes(b"no picture")

    with pytest.raises(DatasetError) as caught:
        predict(ward, out)

    assert str(caught.value) == (
        f"{out}/a.png: is the mask of {scans}/a.png, and {ward}/a.png would take its place; choose "
        "another --out"
    )
    assert hashes(out) == before
    (scans / "a.png").rename(ward / "a.png")  # it was moved
    assert predict(ward, out).before == 1


def test_the_mask_of_a_radiograph_that_this_user_cannot_see_is_not_replaced(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, own = tmp_path / "masks", tmp_path / "own"
    predict(scans, out)
    shutil.copytree(scans, own)
    found = os.stat

    def closed(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, Path) and path.is_relative_to(scans):
            raise PermissionError(13, "Permission denied", str(path))
        return found(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)

    with pytest.raises(DatasetError, match=rf"is the mask of {scans}/a.png, and {own}/a.png would"):
        predict(own, out)


def test_the_mask_of_another_radiograph_is_known_wherever_the_command_is_started(
    model: Model, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "masks", tmp_path / "other"
    monkeypatch.chdir(tmp_path)
    predict(Path("scans"), out)
    before = hashes(out)
    (other / "scans").mkdir(parents=True)
    draw_pair(9)[0].save(other / "scans/a.png")
    monkeypatch.chdir(other)

    with pytest.raises(DatasetError, match=rf"is the mask of {scans}/a.png, and scans/a.png would"):
        predict(Path("scans"), out)

    assert hashes(out) == before
    assert predict(scans, out).before == 3


def draw_no_lung(path: Path, seed: int) -> None:
    """A radiograph in which the model finds no lung, so that its mask is that of all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    light = np.random.default_rng(seed).integers(130, 250, (64, 64), np.uint8)
    Image.fromarray(light).save(path)


@pytest.mark.parametrize("name", ["masks", "ward"])
def test_equal_masks_of_one_name_in_several_folders_keep_their_radiographs(
    model: Model, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    paths = {"a.png": "scans/a.png", "ward/a.png": "scans/ward/a.png", "x.png": "other/x.png"}
    for seed, path in enumerate(paths.values()):
        draw_no_lung(tmp_path / path, seed)
    predict(tmp_path / "scans", out)

    assert predict(tmp_path / "scans", out).before == 2
    predict(tmp_path / "other", out)

    assert len({row["mask_sha256"] for row in rows(out)}) == 1
    assert {row["mask"]: row["path"] for row in rows(out)} == {
        str(out / mask): str(tmp_path / path) for mask, path in paths.items()
    }


def test_equal_masks_keep_their_radiographs_when_a_run_from_another_folder_is_killed(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out, killed, written = *(tmp_path / name for name in ("scans", "m", "k")), module._write
    monkeypatch.chdir(tmp_path)
    draw_no_lung(scans / "ward/a.png", 1)
    predict(scans, Path("m"))
    draw_no_lung(scans / "a.png", 2)

    def kill(path: Path, png: bytes) -> None:
        written(path, png)
        shutil.copytree(out, killed)  # as kill -9 leaves it
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", kill)
    with pytest.raises(KeyboardInterrupt):
        predict(scans, out)

    with open_table(killed) as table:
        assert {str(mask): row.path for mask, row in table.masks().items()} == {
            "a.png": str(scans / "a.png"),
            "ward/a.png": str(scans / "ward/a.png"),
        }


def test_masks_below_a_folder_of_the_name_of_theirs_stay_known(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep"
    draw_pair(5)[0].save(scans / "c.png")
    other = tmp_path / "other"
    other.mkdir()
    draw_pair(6)[0].save(other / "x.png")

    predict(scans, out)
    predict(other, out)

    names = [Path(row["mask"]).relative_to(out).as_posix() for row in rows(out)]
    assert sorted(names) == ["a.png", "b.png", "c.png", "deep/c.png", "x.png"]
    assert predict(scans, out).before == 4


def test_a_name_that_is_too_long_for_a_mask_is_refused_before_anything_else(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    draw_pair(7)[0].save(scans / f"{'ж' * 120}.png")

    with pytest.raises(DatasetError, match="a name of 244 bytes, expected at most 230; shorten"):
        predict(scans, tmp_path / "masks")

    assert not (tmp_path / "masks").exists()


def test_a_place_that_cannot_be_a_folder_is_one_line(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for out in (tmp_path / "file", tmp_path / "file/masks", tmp_path / ("x" * 300)):
        with pytest.raises(DatasetError, match=r"^--out .*; name a folder that you may write$"):
            predict(scans, out)


def test_two_predictions_do_not_write_into_one_folder(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    with (
        open_table(tmp_path / "masks"),
        pytest.raises(DatasetError, match="another prediction is writing there"),
    ):
        predict(scans, tmp_path / "masks")


def test_names_in_any_encoding_come_through(model: Model, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    names = [os.fsdecode("Снимок 1.png".encode("cp866")), 'a "b", c\n.png', "é.png", "=1+1.png"]
    for number, name in enumerate(names):
        draw_pair(number)[0].save(scans / name)

    first, again = predict(scans, tmp_path / "masks"), predict(scans, tmp_path / "masks")

    assert (first.done, again.done, again.before) == (4, 4, 4)
    assert {path.name for path in (tmp_path / "masks").glob("*.png")} == set(names)


def test_progress_is_told_from_the_first_to_the_last(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []

    predict_files(
        Settings(),
        [scans],
        tmp_path / "m",
        "models:/m@x",
        Asked(),
        lambda n, of: told.append((n, of)),
    )

    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
