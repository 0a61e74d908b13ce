from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import fingerprints
from pipeline.dataset.splits import table
from pipeline.errors import DatasetError, StageError
from pipeline.files import read_json, sha256_file, write_json
from pipeline.inference.model_files import model_sha256
from pipeline.model.training_history import HISTORY
from pipeline.params import Params, ReportParams
from pipeline.stages.report import run
from tests.browser import open_page, overhang, resize
from tests.stages.evaluated import write_evaluated, write_scores, write_split, write_training

VOID = {"meta", "img", "br", "link"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after the evaluate stage, 14 test radiographs; not to be changed."""
    root = tmp_path_factory.mktemp("evaluated")
    write_evaluated(root, test=7, COVID=9, Normal=10)
    return root


@pytest.fixture
def project(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of `evaluated` to change."""
    return Path(shutil.copytree(evaluated, tmp_path / "project"))


@pytest.fixture(scope="module")
def report(evaluated: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with three cases of each kind."""
    root = Path(shutil.copytree(evaluated, tmp_path_factory.mktemp("reported") / "project"))
    run(params.model_copy(update={"report": ReportParams(cases=3)}), root)
    return root / "artifacts/report"


class Page(HTMLParser):
    """Every element of a page and its text; fails on a tag that is not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attrs.get(name) for found, attrs in self.elements if found == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "index.html").read_text(encoding="utf-8"))


def test_the_report_is_bound_to_what_it_shows(evaluated: Path, report: Path) -> None:
    bound = read_json(report / "report.json")

    split = table.SPLIT.read(evaluated / table.SPLIT_FILE)
    artifacts = evaluated / "artifacts"
    assert bound["model_sha256"] == model_sha256(artifacts / "train")
    assert bound["metrics_sha256"] == sha256_file(artifacts / "evaluate/metrics.json")
    assert bound["per_image_sha256"] == sha256_file(artifacts / "evaluate/per_image.parquet")
    assert bound["index_sha256"] == sha256_file(report / "index.html")
    assert bound["test_split_sha256"] == table.test_split_sha256(table.select_split(split, "test"))
    assert bound["data_sha256"] == table.data_sha256(split)
    assert bound["code_sha256"] == fingerprints.code_sha256("report")
    assert bound["test_cases"] == 14


def test_every_case_has_an_overlay_that_can_be_read(report: Path) -> None:
    cases = read_json(report / "report.json")["cases"]

    assert [case["kind"] for case in cases] == ["worst"] * 3 + ["median"] * 3 + ["best"] * 3
    assert len({case["image_id"] for case in cases}) == 9
    assert sorted(case["overlay"] for case in cases) == sorted(
        path.relative_to(report).as_posix() for path in (report / "overlays").iterdir()
    )
    for case in cases:
        assert sha256_file(report / case["overlay"]) == case["sha256"]
        with Image.open(report / case["overlay"]) as overlay:
            assert (overlay.mode, min(overlay.size) >= 512) == ("RGB", True)


def test_the_page_embeds_the_overlays_as_they_are(report: Path) -> None:
    html = (report / "index.html").read_text(encoding="utf-8")
    for overlay in (report / "overlays").iterdir():
        assert base64.b64encode(overlay.read_bytes()).decode() in html


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    sources = [source or "" for source in page.attributes("img", "src")]

    assert len(sources) == 3 + 5 + 2 * 9
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", source) for source in sources)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all((target or "").startswith("#") for target in page.attributes("a", "href"))


def test_the_page_can_be_used_without_seeing_its_pictures(page: Page) -> None:
    assert all(page.attributes("img", "alt"))
    assert all(page.attributes("th", "scope"))
    assert page.attributes("html", "lang") == ["en"]
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert max(np.diff(headings)) == 1
    targets = {identity for _, attrs in page.elements if (identity := attrs.get("id"))}
    assert {f"#{target}" for target in targets} >= set(page.attributes("a", "href"))


def test_the_page_tells_the_scores_and_leaves_the_verdict_to_the_gate(
    evaluated: Path, page: Page
) -> None:
    metrics = read_json(evaluated / "artifacts/evaluate/metrics.json")

    assert f"{metrics['dice']:.4f}" in page.text
    assert f"{metrics['pooled']['iou']:.4f}" in page.text
    assert f"{metrics['classes']['COVID']['recall']:.4f}" in page.text
    assert "evidence, not a verdict" in page.text
    assert "Not a medical device" in page.text


def test_the_page_tells_of_every_case_what_was_missed(report: Path, page: Page) -> None:
    cases = read_json(report / "report.json")["cases"]

    assert page.text.count("of the reference lung and marks an extra") == 9
    for case in cases:
        assert f"{case['image_id']} Class" in page.text
        assert f"Dice {case['dice']:.3f}" in page.text


def test_the_page_names_the_epoch_with_the_lowest_validation_loss(page: Page) -> None:
    assert "the validation loss was lowest after epoch 3" in page.text


def test_the_page_gives_short_hashes_with_the_full_ones_behind(report: Path, page: Page) -> None:
    model = read_json(report / "report.json")["model_sha256"]

    assert model in page.attributes("code", "title")
    assert model[:12] in page.text
    assert model not in page.text


def test_the_page_lists_the_parameters_behind_the_result(page: Page, params: Params) -> None:
    assert f"learning_rate {params.train.learning_rate}" in page.text
    assert f"threshold {params.evaluate.threshold}" in page.text
    assert "HorizontalFlip: p 0.5" in page.text
    assert "rotate -10.0 to 10.0" in page.text
    assert "min_dice" not in page.text


@pytest.mark.slow
def test_a_second_run_writes_the_same_bytes(project: Path, params: Params) -> None:
    hashes = []
    for _ in range(2):
        run(params, project)
        files = [file for file in (project / "artifacts/report").rglob("*") if file.is_file()]
        hashes.append({file.name: sha256_file(file) for file in files})

    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("test", [1, 2])
def test_few_test_radiographs_are_shown_once_each(
    tmp_path: Path, params: Params, test: int
) -> None:
    write_evaluated(tmp_path, test=test, Normal=5)

    run(params, tmp_path)

    folder = tmp_path / "artifacts/report"
    cases = read_json(folder / "report.json")["cases"]
    assert [case["kind"] for case in cases] == ["worst", "best"][:test]
    assert "#median" not in Page((folder / "index.html").read_text()).attributes("a", "href")


def test_a_reference_without_lung_is_told_in_words(tmp_path: Path, params: Params) -> None:
    (row,) = write_split(tmp_path, test=1, Normal=4)
    mask = tmp_path / "data" / row.mask_path
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(mask)
    split = tmp_path / "artifacts/split/split.csv"
    split.write_text(split.read_text().replace(row.mask_sha256, sha256_file(mask)))
    write_scores(tmp_path, [replace(row, mask_sha256=sha256_file(mask))])
    write_training(tmp_path)

    run(params, tmp_path)

    text = Page((tmp_path / "artifacts/report/index.html").read_text()).text
    assert "The reference mask holds no lung, the model marks" in text


@pytest.mark.parametrize("half", ["images", "masks"])
def test_a_file_that_is_not_the_one_split_is_refused_by_name(
    tmp_path: Path, params: Params, half: str
) -> None:
    write_evaluated(tmp_path, test=1, Normal=4)
    folder = tmp_path / "data/Normal" / half
    (folder / "Normal-4.png").replace(folder / "Normal-1.png")

    with pytest.raises(DatasetError, match=rf"{half}/Normal-1\.png: "):
        run(params, tmp_path)

    assert not (tmp_path / "artifacts/report").exists()


def test_names_of_classes_and_radiographs_cannot_break_the_page(
    tmp_path: Path, params: Params
) -> None:
    write_evaluated(tmp_path, test=2, **{"<b>A & B": 4})

    run(params, tmp_path)

    page = Page((tmp_path / "artifacts/report/index.html").read_text())
    assert "<b>A & B/<b>A & B-1" in page.text
    assert "b" not in {tag for tag, _ in page.elements}


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("split/split.csv", "split"),
        ("train/model.keras", "train"),
        ("train/model.onnx", "train"),
        ("train/history.csv", "train"),
        ("evaluate/per_image.parquet", "evaluate"),
        ("evaluate/metrics.json", "evaluate"),
    ],
)
def test_a_missing_input_is_refused_with_the_stage_to_run(
    project: Path, params: Params, path: str, stage: str
) -> None:
    (project / "artifacts" / path).unlink()

    with pytest.raises(StageError, match=f"{path}: no such file.*run the stage {stage}") as caught:
        run(params, project)

    assert "\n" not in str(caught.value)
    assert not (project / "artifacts/report").exists()


@pytest.mark.parametrize(
    "path", ["train/history.csv", "evaluate/per_image.parquet", "evaluate/metrics.json"]
)
def test_an_input_that_is_cut_off_is_refused(project: Path, params: Params, path: str) -> None:
    (project / "artifacts" / path).write_bytes(b"")

    with pytest.raises(StageError, match=f"{path}: cannot be read .*run the stage") as caught:
        run(params, project)

    assert "\n" not in str(caught.value)


def change_table(project: Path, **values: Any) -> None:
    path = project / "artifacts/evaluate/per_image.parquet"
    table = pd.read_parquet(path)
    for name, value in values.items():
        table.loc[0, name] = value
    table.to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("column", "reason"),
    [("image_id", "COVID/COVID-1 is in one only"), ("pixel_sha256", "their pixels differ")],
)
def test_scores_of_another_split_are_refused(
    project: Path, params: Params, column: str, reason: str
) -> None:
    change_table(project, **{column: "other"})

    with pytest.raises(StageError, match=f"found 14 radiographs, expected the 14 .*, {reason}"):
        run(params, project)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0.99, r"found another pooled\.dice than follows"),
        (None, r"cannot be read \(pooled\.dice: .*valid number"),
        ("high", r"cannot be read \(pooled\.dice: .*valid number"),
    ],
)
def test_metrics_that_the_images_do_not_give_are_refused(
    project: Path, params: Params, value: object, found: str
) -> None:
    path = project / "artifacts/evaluate/metrics.json"
    metrics = read_json(path)
    metrics["pooled"]["dice"] = value
    write_json(path, metrics)

    with pytest.raises(StageError, match=rf"metrics\.json: {found}.*run the stage evaluate again"):
        run(params, project)


COLUMNS = ",".join(HISTORY.columns) + "\n"


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ("epoch,loss,dice\n1,0.5,0.5\n", r"cannot be read \(columns differ in accuracy, iou"),
        (COLUMNS, "found no finite val_loss in 0 epochs"),
        (f"{COLUMNS}1,1,1,1,1,nan,1,1,1,1\n", "found no finite val_loss in 1 epochs"),
        (f"{COLUMNS}1,1,1,1,1,high,1,1,1,1\n", "cannot be read .*high"),
    ],
)
def test_a_history_without_a_validation_loss_is_refused(
    project: Path, params: Params, history: str, found: str
) -> None:
    (project / "artifacts/train/history.csv").write_text(history)

    with pytest.raises(StageError, match=rf"history\.csv: {found}.*run the stage train"):
        run(params, project)


def worst_prediction(project: Path) -> Path:
    table = pd.read_parquet(project / "artifacts/evaluate/per_image.parquet")
    worst = table.sort_values(["dice", "image_id"])["image_id"].iloc[0]
    return project / f"artifacts/evaluate/predictions/{worst}.png"


def test_a_missing_prediction_is_refused(project: Path, params: Params) -> None:
    worst_prediction(project).unlink()

    with pytest.raises(StageError, match=r"\.png: no such file; run the stage evaluate again"):
        run(params, project)


def test_an_unreadable_prediction_is_refused(project: Path, params: Params) -> None:
    path = worst_prediction(project)
    path.write_bytes(path.read_bytes()[:60])

    with pytest.raises(StageError, match=r"\.png: ends within a chunk.*run the stage evaluate"):
        run(params, project)


@pytest.mark.parametrize("shape", [(64, 64), (32, 32)])
def test_a_prediction_that_was_not_scored_is_refused(
    project: Path, params: Params, shape: tuple[int, int]
) -> None:
    Image.fromarray(np.full(shape, 255, np.uint8)).save(worst_prediction(project))

    with pytest.raises(StageError, match=r"does not give the counts of per_image\.parquet"):
        run(params, project)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 420])
def test_the_page_opens_from_a_file_without_errors(browser: Any, report: Path, width: int) -> None:
    resize(browser, width)
    open_page(browser, report / "index.html")

    assert browser.execute_script("return document.images.length") == 26
    assert overhang(browser) == 0


@pytest.mark.slow
def test_a_case_appears_on_the_page_as_its_overlay_file(browser: Any, report: Path) -> None:
    browser.get((report / "index.html").as_uri())

    overlay = browser.find_elements("css selector", "article .pair img")[1]
    shown = Image.open(io.BytesIO(overlay.screenshot_as_png)).convert("RGB")
    case = read_json(report / "report.json")["cases"][0]
    with Image.open(report / case["overlay"]) as file:
        expected = file.resize(shown.size, Image.Resampling.BILINEAR)
    assert hashlib.sha256((report / case["overlay"]).read_bytes()).hexdigest() == case["sha256"]
    assert np.abs(np.asarray(shown, float) - np.asarray(expected, float)).mean() < 8
