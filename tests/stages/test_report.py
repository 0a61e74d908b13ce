from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline import fingerprints
from pipeline.dataset.splits import table
from pipeline.errors import DatasetError, StageError
from pipeline.files import read_json, sha256_file, sha256_folder, write_json
from pipeline.inference.model_files import model_sha256
from pipeline.model.training_history import HISTORY
from pipeline.params import Params, ReportParams, StagesParams
from pipeline.radiograph.grey import Grey
from pipeline.report.report_inputs import read_inputs
from pipeline.stages import report as stage
from pipeline.stages.report import run
from tests.browser import BROKEN, open_page, overhang, resize
from tests.stages.evaluated import (
    Bilingual,
    write_bilingual,
    write_evaluated,
    write_scores,
    write_split,
    write_training,
)

VOID = {"meta", "img", "br", "link", "input"}


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


@dataclass(frozen=True)
class Said:
    """An explanation that is made up."""

    method: str
    picture: NDArray[np.uint8] | None
    sentence: str


class StandInExplainer:
    """Explains in one picture, and leaves another out."""

    def __init__(self, network: Path, threshold: float) -> None:
        assert (network / "model.keras").is_file()

    def explain(
        self, radiograph: Grey, prediction: NDArray[np.uint8], convention: str
    ) -> list[Said]:
        picture = np.full((32, 32, 3), 99, np.uint8)
        return [
            Said("occlusion", picture, f"Rests on {prediction.sum()} pixels."),
            Said("seg_grad_cam", None, "Left out: it is the same for a shuffled network."),
        ]


@pytest.fixture(scope="module", autouse=True)
def explained() -> Iterator[None]:
    """The networks of these tests are no networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "Explainer", StandInExplainer)
        yield


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
    assert bound["conventions_sha256"] == ""
    assert bound["per_image_sha256"] == sha256_file(artifacts / "evaluate/per_image.parquet")
    assert bound["index_sha256"] == sha256_file(report / "index.html")
    assert bound["test_split_sha256"] == table.test_split_sha256(table.select_split(split, "test"))
    assert bound["data_sha256"] == table.data_sha256(split)
    assert bound["code_sha256"] == fingerprints.code_sha256("report")
    for name in ("calibration.csv", "robustness.parquet", "failure_prediction.csv"):
        digest = sha256_file(artifacts / "evaluate" / name)
        assert bound[f"{name.partition('.')[0]}_sha256"] == digest
    assert bound["split_sha256"] == sha256_file(evaluated / table.SPLIT_FILE)
    assert bound["strips_sha256"] == sha256_folder(report / "cases")
    assert bound["test_cases"] == 14


def test_the_hash_of_the_parameters_is_of_those_that_the_stage_depends_on(
    project: Path, params: Params
) -> None:
    def digest(**sections: Any) -> str:
        return read_inputs(project, params.model_copy(update=sections)).hashes.params_sha256

    before = digest()

    # DVC takes the report of another number of parts from its cache.
    assert digest(stages=StagesParams(parts=4)) == before
    assert digest(report=ReportParams(cases=params.report.cases + 1)) != before


def test_every_test_radiograph_has_a_strip(evaluated: Path, report: Path) -> None:
    split = table.select_split(table.SPLIT.read(evaluated / table.SPLIT_FILE), "test")

    found = {
        path.relative_to(report / "cases").as_posix() for path in (report / "cases").rglob("*.jpg")
    }
    assert found == {f"{image_id}.jpg" for image_id in split["image_id"]}


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


def test_the_page_asks_for_nothing_from_elsewhere(page: Page) -> None:
    sources = [source or "" for source in page.attributes("img", "src")]

    assert all(re.match(r"data:image/(png|jpeg|svg\+xml);base64,", source) for source in sources)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not any(page.attributes("script", "src"))
    assert all((target or "").startswith("#") for target in page.attributes("a", "href"))


def test_no_script_but_the_page_s_own_may_run(report: Path) -> None:
    html = (report / "index.html").read_text(encoding="utf-8")

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert policy
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert re.findall(r"script-src ([^;]*);", policy[1]) == [f"'sha256-{digests[0]}'"]
    assert len(digests) == 1
    assert "default-src 'none'" in policy[1]


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

    low, high = metrics["intervals"]["dice"]
    assert f"{metrics['dice']:.4f} {low:.4f} to {high:.4f}" in page.text
    assert f"{metrics['pooled']['iou']:.4f}" in page.text
    assert f"{metrics['classes']['COVID']['recall']:.4f}" in page.text
    assert f"{metrics['left']['hd95']:.2f}" in page.text
    assert "evidence, not a verdict" in page.text
    assert "Not a medical device" in page.text


def test_the_page_tells_of_every_case_what_was_missed(report: Path, page: Page) -> None:
    cases = read_json(report / "report.json")["cases"]

    assert page.text.count("of the reference lung and marks an extra") == 9
    for case in cases:
        assert case["image_id"] in page.text
        assert f"Dice {case['dice']:.3f}" in page.text


def test_the_worst_cases_alone_are_explained(page: Page) -> None:
    assert page.text.count("Occlusion: Rests on") == 3
    assert page.text.count("Seg-Grad-CAM: Left out") == 3


def test_the_page_names_the_epoch_with_the_lowest_validation_loss(page: Page) -> None:
    assert "the validation loss was lowest after epoch 3" in page.text


def test_the_page_says_of_how_many_radiographs_the_risk_curves_are(page: Page) -> None:
    # Of the 14 test radiographs two were tried in changed forms.
    assert "Test radiographs in the chart: 2, all that have every score drawn" in page.text


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
    assert f"min_dice {params.gate.min_dice}" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fresh", "said"),
    [
        (False, "2 changed copies of each training pair."),
        (True, "pair, drawn anew in every epoch."),
    ],
)
def test_the_page_says_where_the_copies_are_others_in_every_epoch(
    project: Path, params: Params, fresh: bool, said: str
) -> None:
    augment = params.augment.model_copy(update={"copies": 2, "fresh": fresh})
    run(params.model_copy(update={"augment": augment}), project)

    assert said in Page((project / "artifacts/report/index.html").read_text()).text


def test_a_second_run_writes_the_same_bytes(project: Path, params: Params) -> None:
    hashes = []
    for _ in range(2):
        run(params, project)
        files = [file for file in (project / "artifacts/report").rglob("*") if file.is_file()]
        hashes.append({file.name: sha256_file(file) for file in files})

    assert hashes[0] == hashes[1]


def test_a_reference_without_lung_is_told_in_words(tmp_path: Path, params: Params) -> None:
    (row,) = write_split(tmp_path, test=1, Normal=4)
    mask = tmp_path / "data" / row.mask_path
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(mask)
    split = tmp_path / "artifacts/split/split.csv"
    split.write_text(split.read_text().replace(row.mask_sha256, sha256_file(mask)))
    write_scores(tmp_path, [replace(row, mask_sha256=sha256_file(mask))])
    write_training(tmp_path)

    run(params, tmp_path)

    folder = tmp_path / "artifacts/report"
    page = Page((folder / "index.html").read_text())
    assert "The reference mask holds no lung, the model marks" in page.text
    assert "Normal: no map, because no reference mask holds any lung." in page.text
    assert [case["kind"] for case in read_json(folder / "report.json")["cases"]] == ["worst"]
    assert not {"#median", "#best"} & set(page.attributes("a", "href"))


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
    write_evaluated(tmp_path, test=2, **{"<b>A  & B": 4})  # a browser joins the blanks of a text

    run(params, tmp_path)

    folder = tmp_path / "artifacts/report"
    html = (folder / "index.html").read_text()
    page = Page(html)
    assert [case["kind"] for case in read_json(folder / "report.json")["cases"]] == [
        "worst",
        "best",
    ]
    assert "<b>A & B/<b>A & B-1" in page.text
    assert ("option", {"value": "<b>A  & B"}) in page.elements
    assert "b" not in {tag for tag, _ in page.elements}
    assert 'id="gallery-data">{' in html
    assert "<b>" not in html


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


def names_of(browser: Any) -> list[str]:
    """The radiographs whose tiles the gallery shows, in order."""
    return [one.text for one in browser.find_elements("css selector", "#tiles .name")]


def choose(browser: Any, field: str, value: str) -> None:
    """Set a filter as a person does."""
    browser.execute_script(
        "const field = document.forms.filters.elements[arguments[0]]; field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        field,
        value,
    )


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_strip(browser: Any, image_id: str) -> None:
    script = "return document.getElementById('case').dataset.drawn === arguments[0]"
    wait_until(lambda: bool(browser.execute_script(script, image_id)))


@pytest.mark.slow
def test_the_page_works_from_a_file_with_mouse_and_keyboard(
    browser: Any, evaluated: Path, report: Path
) -> None:
    scores = pd.read_parquet(evaluated / "artifacts/evaluate/per_image.parquet")
    ranked = scores.sort_values(["dice", "image_id"])["image_id"].tolist()
    for width in (420, 1280):
        resize(browser, width)
        open_page(browser, report / "index.html")
        assert overhang(browser) == 0

    assert names_of(browser) == ranked
    choose(browser, "sort", "hd95")
    by_distance = scores.sort_values(["hd95", "image_id"], ascending=[False, True])
    assert names_of(browser) == by_distance["image_id"].tolist()
    choose(browser, "sort", "dice")
    choose(browser, "class", "COVID")
    assert names_of(browser) == [one for one in ranked if one.startswith("COVID")]
    assert browser.find_element("id", "gallery-count").text == "7 of 14 test radiographs"
    choose(browser, "search", "covid-3")
    assert names_of(browser) == ["COVID/COVID-3"]
    assert "search=covid-3" in browser.current_url
    browser.find_element("css selector", "#filters [type=reset]").click()
    wait_until(lambda: len(names_of(browser)) == 14)

    first = browser.find_element("css selector", "#tiles button")
    first.send_keys("\ue007")  # Enter
    wait_for_strip(browser, ranked[0])
    shown = browser.find_element("css selector", "[data-value=dice]").text
    assert shown == f"{scores['dice'].min():.4f}"
    assert browser.find_element("id", "case-missing").is_displayed() is False
    for key, place in (("\ue014", 1), ("\ue014", 2), ("\ue012", 1)):  # right, right, left
        browser.switch_to.active_element.send_keys(key)
        wait_for_strip(browser, ranked[place])
        assert browser.find_element("id", "case-title").text == ranked[place]
    browser.switch_to.active_element.send_keys("\ue00c")  # Escape
    wait_until(lambda: not browser.find_element("id", "case").is_displayed())
    assert ranked[1] in browser.switch_to.active_element.text
    show = browser.find_element("css selector", "button[data-flag]")
    browser.execute_script("arguments[0].focus()", show)
    show.send_keys("\ue007")  # Enter
    focused = (
        "setTimeout(() => arguments[0](document.activeElement.closest('#tiles') !== null), 99)"
    )
    assert browser.execute_async_script(focused)
    assert not browser.get_log("browser")


@contextmanager
def serve_page(content: bytes) -> Iterator[str]:
    """The address of a server on loopback whose every page is this one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


FRAMED = """<!DOCTYPE html><title>frame</title><script>
const text = new TextDecoder().decode(Uint8Array.from(atob("{page}"), (c) => c.charCodeAt(0)));
const frame = document.createElement("iframe");
frame.setAttribute("sandbox", "allow-scripts");
frame.style = "width: 1200px; height: 800px";
frame.src = URL.createObjectURL(new Blob([text], {{type: "text/html"}}));
document.head.parentNode.append(frame);
</script>"""
"""As MLflow's view of an artifact shows an HTML file."""


@pytest.mark.slow
def test_the_page_works_where_mlflow_shows_it(browser: Any, report: Path, evaluated: Path) -> None:
    scores = pd.read_parquet(evaluated / "artifacts/evaluate/per_image.parquet")
    ranked = scores.sort_values(["dice", "image_id"])["image_id"].tolist()
    shown = {case["image_id"] for case in read_json(report / "report.json")["cases"]}
    page = base64.b64encode((report / "index.html").read_bytes()).decode()
    frame = FRAMED.format(page=page).encode()
    with serve_page(frame) as address:
        browser.get(address)
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    wait_until(lambda: len(names_of(browser)) == 14)
    assert not browser.execute_script(BROKEN)
    blank = browser.execute_script(
        "const one = document.querySelector('#tiles canvas'); "
        "return one.getContext('2d').getImageData(0, 0, one.width, one.height).data"
        ".every((value, place) => place % 4 === 3 || value === 0)"
    )
    assert not blank
    for image_id in (ranked[0], next(one for one in ranked if one not in shown)):
        tiles = browser.find_elements("css selector", "#tiles button")
        browser.execute_script("arguments[0].click()", tiles[ranked.index(image_id)])
        wait_for_strip(browser, image_id)
        missing = browser.find_element("id", "case-missing")
        assert missing.is_displayed() is (image_id not in shown)
        browser.execute_script("document.getElementById('case').close()")


def test_one_convention_has_no_section_of_its_own(page: Page) -> None:
    assert "conventions" not in page.attributes("h2", "id")
    assert "Conventions" not in page.text


def test_several_conventions_are_compared_on_the_page(
    tmp_path: Path, params: Params, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bilingual(tmp_path, test=6, COVID=8, Normal=9)
    monkeypatch.setattr(stage, "Predictor", lambda path: Bilingual())
    table = tmp_path / "artifacts/evaluate/conventions.csv"
    table.write_text(table.read_text().replace(",Normal,", ",<i onclick=x>,"))

    run(params.model_copy(update={"report": ReportParams(cases=3)}), tmp_path)

    path = tmp_path / "artifacts/report/index.html"
    html = path.read_text(encoding="utf-8")
    text = Page(html).text
    assert "<i onclick" not in html
    assert "&lt;i onclick=x&gt;" in html
    assert "Answers in each annotation convention" in text
    assert "Masks that another convention explains better (1)" in text
    assert "Fits heart better; of the test." in text
    assert "lungseg data convention heart Normal/Normal-1" in text
    assert "Convention confirmed by a person" in text
    bound = read_json(tmp_path / "artifacts/report/report.json")["conventions_sha256"]
    assert bound == sha256_file(table)
    open_page(browser, path)
    for width in (1200, 400):
        resize(browser, width)
        assert overhang(browser) <= 0


def test_answers_of_other_radiographs_are_refused(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bilingual(tmp_path, test=6, COVID=8, Normal=9)
    path = tmp_path / "artifacts/evaluate/conventions.csv"
    path.write_text(path.read_text().replace("COVID/COVID-2", "COVID/COVID-99"))

    with pytest.raises(
        StageError, match=r"conventions\.csv: found 17 radiographs, expected the 17"
    ):
        run(params, tmp_path)
