"""index.html: everything of the report on one page, with its pictures, styles and script inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup

from pipeline.evaluation.asked import CLEAR
from pipeline.evaluation.failure_prediction import FEW_FAILURES
from pipeline.evaluation.intervals import MIN_GROUPS
from pipeline.evaluation.per_image import FAILURE
from pipeline.evaluation.scores import SCORES
from pipeline.params import Params
from pipeline.pictures.charts import draw_curves, draw_dice
from pipeline.pictures.model_charts import draw_distances
from pipeline.pictures.overlay import Area, Outline, draw_swatch
from pipeline.pictures.pages import encode_png, load_template
from pipeline.pictures.strips import PANELS, draw_scale
from pipeline.report.behaviour import draw_calibration, judge_warnings, map_errors, try_robustness
from pipeline.report.case_drawing import DrawnCase
from pipeline.report.case_gallery import build_gallery
from pipeline.report.convention_answers import ConventionAnswers
from pipeline.report.measures import FAILURE_SHARE, MEASURES_SHOWN
from pipeline.report.overview import (
    SCORED,
    compare_with_bounds,
    count_errors,
    table_rows,
)
from pipeline.report.report_inputs import ReportInputs
from pipeline.report.shown_cases import Case
from pipeline.report.study import gather_facts

SHOWN_PARAMS = ("validate", "split", "augment", "train", "evaluate", "report", "gate")
TEMPLATE = Path(__file__).with_name("report.html.jinja")
SCRIPT = Path(__file__).with_name("page.js")


def render_page(
    inputs: ReportInputs,
    drawn: Sequence[DrawnCase],
    cases: Sequence[Case],
    conventions: ConventionAnswers | None,
) -> str:
    """The page as HTML; it asks for nothing but, for a case of the gallery, its strip."""
    template = load_template(TEMPLATE, _percent)
    script = SCRIPT.read_text(encoding="utf-8")
    gallery = build_gallery(drawn)
    return template.render(
        inputs=inputs,
        metrics=inputs.metrics,
        classes=inputs.classes,
        bounded=compare_with_bounds(inputs.metrics, inputs.params.gate),
        few_groups=MIN_GROUPS,
        fewest=min(inputs.metrics.classes.items(), key=lambda named: named[1].groups),
        failure=FAILURE,
        errors=count_errors(drawn, inputs.classes),
        rows=table_rows(inputs.metrics),
        scores=SCORES,
        scored=SCORED,
        measures={**MEASURES_SHOWN, "failures": FAILURE_SHARE},
        charts=_charts(inputs),
        conventions=conventions,
        clear=CLEAR,
        maps=map_errors(drawn, inputs.classes),
        robustness=try_robustness(inputs),
        warning=judge_warnings(inputs),
        few_failures=FEW_FAILURES,
        facts=gather_facts(inputs),
        swatches=_swatches(),
        scale=encode_png(draw_scale()),
        panels=PANELS,
        cases={kind: [case for case in cases if case.kind == kind] for kind in _kinds(cases)},
        gallery=gallery,
        flag_places={code: place for place, code in enumerate(gallery.flags)},
        strips=[(case.image.image_id, base64.b64encode(case.strip).decode()) for case in cases],
        params=_shown(inputs.params),
        script=Markup(script),  # noqa: S704  (the project's own)
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _kinds(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case.kind for case in cases))


def _charts(inputs: ReportInputs) -> dict[str, str | None]:
    history, best_epoch = inputs.history, inputs.best_epoch
    return {
        "dice": draw_dice(inputs.per_image),
        "hd95": draw_distances(inputs.per_image),
        "reliability": draw_calibration(inputs),
        "training_loss": draw_curves(history, "loss", best_epoch),
        "training_dice": draw_curves(history, "dice", best_epoch),
    }


def _swatches() -> dict[str, bytes]:
    return {kind: encode_png(draw_swatch(kind)) for kind in (*get_args(Area), *get_args(Outline))}


def _shown(params: Params) -> dict[str, dict[str, list[str]]]:
    sections = params.model_dump(by_alias=True)
    return {
        name: {key: _lines(value) for key, value in sections[name].items()} for name in SHOWN_PARAMS
    }


def _lines(value: Any) -> list[str]:
    """A parameter as lines of text, one for each entry of a list."""
    if value is None:
        return ["none"]
    if isinstance(value, dict):
        ranges = {key: " to ".join(_lines(one)) for key, one in value.items() if key != "name"}
        settings = [f"{key} {shown}" for key, shown in ranges.items()]
        return [f"{value['name']}: {', '.join(settings)}"]
    if not isinstance(value, (list, tuple)):
        return [str(value).lower() if isinstance(value, bool) else str(value)]
    return [line for entry in value for line in _lines(entry)]


def _percent(share: float) -> str:
    shown = "under 0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}" if share else "0"
    return f"{shown}\N{NO-BREAK SPACE}%"
