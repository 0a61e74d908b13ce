"""Show a person what the model does on the test radiographs, on one page that stands by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.splits.table import select_split, split_rows
from pipeline.evaluation.per_image import image_scores
from pipeline.evaluation.visual_report import REPORT_FILE, REPORT_PAGE, STRIPS, Report, ShownCase
from pipeline.explanation.explainer import Explainer
from pipeline.files import atomic_folder, sha256_file, sha256_folder
from pipeline.inference.predictor import Predictor
from pipeline.model.training_history import TRAINED
from pipeline.params import Params
from pipeline.report.case_drawing import draw_all
from pipeline.report.convention_answers import ConventionAnswers, show_answers
from pipeline.report.page import render_page
from pipeline.report.report_inputs import ReportInputs, read_inputs
from pipeline.report.shown_cases import Case, show_cases


def run(params: Params, root: Path) -> str:
    """Write artifacts/report; raises StageError when its inputs are missing or disagree."""
    inputs = read_inputs(root, params)
    images = {image.image_id: image for image in image_scores(inputs.per_image)}
    pairs = split_rows(select_split(inputs.split, "test"))
    with atomic_folder(root / REPORT_FILE.parent) as folder:
        drawn = draw_all(root, folder, [(pair, images[pair.image_id]) for pair in pairs])
        explainer = Explainer(root / TRAINED, params.evaluate.threshold)
        cases = show_cases(inputs, folder, drawn, pairs, explainer.explain)
        (folder / "overlays").mkdir()
        for case in cases:
            (folder / case.overlay_name).write_bytes(case.overlay)
        page = folder / REPORT_PAGE.name
        answers = _ask(inputs)
        page.write_text(render_page(inputs, drawn, cases, answers), encoding="utf-8")
        _bind(inputs, cases, folder).write(folder / REPORT_FILE.name)
    return f"report: {len(cases)} cases of {len(drawn)} test radiographs"


def _ask(inputs: ReportInputs) -> ConventionAnswers | None:
    """The answers in each convention; None where the network knows one."""
    if inputs.asked.empty:
        return None
    pairs = split_rows(inputs.split)
    return show_answers(inputs, pairs, Predictor(inputs.root / TRAINED / "model.onnx"))


def _bind(inputs: ReportInputs, cases: Sequence[Case], folder: Path) -> Report:
    return Report(
        **dict(inputs.hashes),
        index_sha256=sha256_file(folder / REPORT_PAGE.name),
        strips_sha256=sha256_folder(folder / STRIPS),
        test_cases=len(inputs.per_image),
        cases=tuple(_bind_case(case) for case in cases),
    )


def _bind_case(case: Case) -> ShownCase:
    return ShownCase(
        image_id=case.image.image_id,
        kind=case.kind,
        dice=case.drawn.dice,
        overlay=case.overlay_name,
        sha256=hashlib.sha256(case.overlay).hexdigest(),
    )
