"""Two models that MLflow has on one page: by command, and beside a verdict."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.errors import ReleaseError
from pipeline.evaluation.per_image import PER_IMAGE_FILE
from pipeline.release import champion, comparing
from pipeline.release.approval import approval_text
from pipeline.release.champion import same_masks
from pipeline.release.compared_models import find_named_run
from pipeline.release.comparing import COMPARISON, ComparisonResult, compare_models
from pipeline.release.gate import run_gate
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord, find_artifact
from tests.browser import open_page, overhang, resize
from tests.release.conftest import deploy
from tests.release.runs import CLASSES, Run, make_run, release

SECOND = {"COVID": [0.95, *[0.98] * 7], "Normal": [0.99] * 8}


@pytest.fixture(autouse=True)
def pageless() -> None:
    """Here the gate writes its page."""


@pytest.fixture
def second(settings: Settings, client: MlflowClient, tmp_path: Path, run: Run) -> Run:
    """Another network, scored against other masks of the same radiographs."""
    return make_run(settings, client, tmp_path / "second", SECOND, b"second")


def compare(settings: Settings, run: Run, page: Path, *words: str) -> ComparisonResult:
    first, second = words
    return compare_models(settings, (first, second), run[1].folder, page)


def test_two_runs_are_compared_on_a_page_with_what_changed_most(
    settings: Settings, run: Run, second: Run, tmp_path: Path, browser: Any
) -> None:
    page = tmp_path / "pages" / "comparison.html"

    found = compare(settings, second, page, "first", second[0].run_id)

    assert found.problems == ()
    assert [model.detail for model in found.paired.models] == [
        "run first, commit c0ffee",
        "run second, commit c0ffee",
    ]
    assert "16 have another reference mask in B than in A" in found.paired.notes[0]
    open_page(browser, page)
    assert browser.find_elements("css selector", "#worsened")[0].text == "Worsened most"
    articles = browser.find_elements("css selector", "section article")
    assert len(articles) == 9  # one is worse, and of the better ones eight are shown
    assert articles[0].find_element("tag name", "h3").text == "COVID/0"
    assert len(browser.find_elements("css selector", ".views img")) == 27
    for width in (360, 1200):
        resize(browser, width)
        assert overhang(browser) <= 0


def test_a_page_is_replaced_and_any_other_file_is_not(
    settings: Settings, run: Run, second: Run, tmp_path: Path
) -> None:
    page = tmp_path / "comparison.html"
    for _ in range(2):
        compare(settings, second, page, "first", "second")
    page.write_text("<html>my notes")

    with pytest.raises(ReleaseError, match=r"comparison\.html: exists and is no page of a compar"):
        compare(settings, second, page, "first", "second")

    assert page.read_text() == "<html>my notes"


def test_versions_and_aliases_are_found_and_must_be_what_was_released(
    settings: Settings, client: MlflowClient, run: Run, second: Run, tmp_path: Path
) -> None:
    release(run)
    page = tmp_path / "comparison.html"

    found = compare(settings, second, page, "champion", "second")

    assert found.paired.models[0].name == "version 1 (champion)"
    for same in ("1", "first", run[0].run_id):
        with pytest.raises(ReleaseError, match=f"'champion' and '{same}': are both run"):
            compare(settings, second, page, "champion", same)
    scores = tmp_path / "per_image.parquet"
    found.paired.models[0].per_image.assign(dice=1.0).to_parquet(scores)
    client.log_artifact(run[0].run_id, str(scores), "evaluate")
    with pytest.raises(ReleaseError, match="scores is not the one that was released"):
        compare(settings, second, page, "1", "second")


def test_what_cannot_be_compared_is_said_in_a_line(
    settings: Settings, client: MlflowClient, run: Run, second: Run, tmp_path: Path
) -> None:
    page = tmp_path / "comparison.html"
    empty = client.create_run(run[0].run.info.experiment_id, run_name="empty").info.run_id
    broken = client.create_run(run[0].run.info.experiment_id, run_name="broken").info.run_id
    client.log_text(broken, "no parquet", "evaluate/per_image.parquet")

    for word, expected in (
        ("7", "'7': found no such version or alias of lung-segmentation and no such run"),
        (empty, r"empty: has no table of scores \(running\)"),
        (broken, "broken: its table of scores cannot be read"),
    ):
        with pytest.raises(ReleaseError, match=expected):
            compare(settings, second, page, "first", word)
    assert not page.exists()


def test_an_unknown_model_is_told_without_the_login_of_the_server(
    settings: Settings, client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ci:secret@mlflow.example")

    with pytest.raises(ReleaseError, match=r" of https://mlflow\.example; `lungseg releases`"):
        find_named_run(settings, client, "7")


def test_numbers_are_shown_where_a_model_or_the_radiographs_cannot_be_had(
    settings: Settings, client: MlflowClient, run: Run, second: Run, tmp_path: Path
) -> None:
    bare = client.create_run(run[0].run.info.experiment_id, run_name="bare").info.run_id
    scores = run[1].folder / PER_IMAGE_FILE
    client.log_artifact(bare, str(scores), "evaluate")
    page = tmp_path / "comparison.html"

    found = compare(settings, second, page, bare, "second")

    assert found.problems == ("A cannot mark radiographs: its run has no model.",)
    assert "A has no split.csv" in found.paired.notes[0]
    assert page.read_text().count("No picture, see the notes above.") == 9
    (second[1].folder / "data").rename(tmp_path / "gone")
    found = compare(settings, second, page, "first", "second")
    assert found.problems[0].startswith("The radiographs cannot be had: data: cannot be fetched")
    assert "COVID/0" in page.read_text()
    (tmp_path / "gone").rename(second[1].folder / "data")
    (second[1].folder / "data/COVID/images/0.png").write_bytes(b"changed")
    found = compare(settings, second, page, "first", "second")
    assert [problem.partition(":")[0] for problem in found.problems] == ["COVID/0 cannot be drawn"]


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        (
            "code/params.yaml",
            "evaluate: {}",
            "A cannot mark radiographs: run .* evaluate.threshold",
        ),
        ("split/split.csv", "image_id\n", "No split.csv says where the radiographs lie"),
    ],
)
def test_a_run_that_lacks_a_part_is_compared_without_it(
    settings: Settings, run: Run, second: Run, tmp_path: Path, file: str, text: str, problem: str
) -> None:
    for record, _ in (run, second):
        record.client.log_text(record.run_id, text, file)

    found = compare(settings, second, tmp_path / "comparison.html", "first", "second")

    assert re.match(problem, found.problems[0])


def test_a_mask_that_is_not_the_one_that_was_scored_is_said(
    settings: Settings, run: Run, second: Run, tmp_path: Path
) -> None:
    page = tmp_path / "comparison.html"

    compare(settings, second, page, "first", "second")

    # Its table has the score against the masks of the first run's data.
    assert "<strong>A</strong>: Dice 0.97" in page.read_text()
    assert "; the mask shown here has 0.9" in page.read_text()


def logged_page(record: RunRecord, folder: Path) -> str:
    folder.mkdir()
    path = find_artifact(record.client, record.run_id, COMPARISON, folder)
    return path.read_text() if path else ""


def test_the_person_who_decides_sees_what_changes_against_the_champion(
    settings: Settings, run: Run, second: Run, tmp_path: Path
) -> None:
    release(run)
    assert logged_page(run[0], tmp_path / "none") == ""  # there was no champion
    deploy(Path(settings.repo), approval="required")

    verdict = run_gate(*second)

    page = logged_page(second[0], tmp_path / "some")
    assert "version 1 (champion)" in page
    assert "this candidate" in page
    assert page.count("<article>") == 9
    link = f"[What changed most against the champion]({second[0].page(COMPARISON)})"
    assert link in approval_text(second[0], verdict)


def test_a_champion_of_other_radiographs_is_compared_by_the_scores_of_the_gate(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    more = dict.fromkeys(CLASSES, [0.98] * 9)
    third = make_run(settings, client, tmp_path / "third", more, b"third")

    run_gate(*third)

    page = logged_page(third[0], tmp_path / "page")
    assert "the same 18 test radiographs" in page


def test_a_champion_is_compared_on_the_masks_that_were_drawn_anew(
    settings: Settings,
    run: Run,
    second: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(champion, "same_masks", same_masks)
    release(run)

    verdict = run_gate(*second)

    (check,) = (one for one in verdict.checks if one.name == "dice_vs_champion")
    assert check.value == 0  # it is the same network, so only the masks made the difference
    page = logged_page(second[0], tmp_path / "page")
    assert "version 1 (champion)" in page
    assert "another reference mask" not in page
    assert "<article>" not in page


def test_a_page_that_fails_is_a_line_in_the_log_and_the_verdict_stays(
    settings: Settings,
    run: Run,
    second: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    release(run)
    monkeypatch.setattr(comparing, "write_comparison", fail)
    caplog.set_level(logging.WARNING)

    verdict = run_gate(*second)

    assert verdict.passed
    assert "no comparison with version 1 (MemoryError)" in caplog.text
    assert logged_page(second[0], tmp_path / "page") == ""
    assert "What changed most" not in approval_text(second[0], verdict)
