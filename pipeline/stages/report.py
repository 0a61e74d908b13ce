"""Show a person what the model does on the test radiographs, on one page that stands by itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from pipeline.dataset.splits.table import (
    SPLIT,
    SPLIT_FILE,
    data_sha256,
    select_split,
    split_rows,
    test_split_sha256,
)
from pipeline.errors import StageError
from pipeline.evaluation.cases import Case, draw_cases
from pipeline.evaluation.metrics import (
    METRICS_FILE,
    PER_IMAGE,
    PER_IMAGE_FILE,
    Metrics,
    differing_metrics,
)
from pipeline.evaluation.scores import SCORES
from pipeline.evaluation.visual_report import (
    REPORT_FILE,
    REPORT_PAGE,
    Report,
    ReportHashes,
    ShownCase,
)
from pipeline.files import atomic_folder, sha256_file
from pipeline.fingerprints import code_sha256
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.model.training_history import HISTORY, HISTORY_FILE, TRAINED
from pipeline.params import Params
from pipeline.pictures.charts import draw_curves, draw_dice
from pipeline.pictures.overlay import Area, Outline, draw_swatch
from pipeline.pictures.pages import encode_png, load_template

SHOWN_PARAMS = ("validate", "split", "augment", "train", "evaluate", "report")


@dataclass(frozen=True)
class ReportInputs:
    """What the stages before left below the project's root, checked against each other."""

    root: Path
    split: pd.DataFrame
    per_image: pd.DataFrame
    metrics: Metrics
    history: pd.DataFrame

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss."""
        return int(self.history["epoch"].iloc[int(self.history["val_loss"].argmin())])

    @cached_property
    def hashes(self) -> ReportHashes:
        """What the report is about."""
        return ReportHashes(
            model_sha256=model_sha256(self.root / TRAINED),
            test_split_sha256=test_split_sha256(select_split(self.split, "test")),
            data_sha256=data_sha256(self.split),
            code_sha256=code_sha256("report"),
            metrics_sha256=sha256_file(self.root / METRICS_FILE),
            per_image_sha256=sha256_file(self.root / PER_IMAGE_FILE),
        )


def run(params: Params, root: Path) -> str:
    """Write artifacts/report; raises StageError when its inputs are missing or disagree."""
    inputs = read_inputs(root)
    pairs = split_rows(select_split(inputs.split, "test"))
    cases = draw_cases(root, inputs.per_image, pairs, params.report.cases)
    with atomic_folder(root / REPORT_FILE.parent) as folder:
        (folder / "overlays").mkdir()
        for case in cases:
            (folder / case.overlay_name).write_bytes(case.overlay)
        page = folder / REPORT_PAGE.name
        page.write_text(render_page(inputs, cases, params), encoding="utf-8")
        _bind(inputs, cases, page).write(folder / REPORT_FILE.name)
    return f"report: {len(cases)} cases of {len(inputs.per_image)} test radiographs"


def read_inputs(root: Path) -> ReportInputs:
    """Read the inputs of the report; raises StageError when one is missing or they disagree."""
    split = SPLIT.read(root / SPLIT_FILE)
    for name in MODEL_FILES:
        _demand(root / TRAINED / name, "train")
    history = HISTORY.read(root / HISTORY_FILE)
    per_image = PER_IMAGE.read(root / PER_IMAGE_FILE)
    metrics = Metrics.read(root / METRICS_FILE)
    _refuse_other_split(per_image, select_split(split, "test"))
    _refuse_other_metrics(metrics, per_image)
    _refuse_history(history)
    return ReportInputs(root, split, per_image, metrics, history)


def _demand(path: Path, stage: str) -> None:
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected it from {stage}; run the stage {stage}")


def _refuse_other_split(per_image: pd.DataFrame, test: pd.DataFrame) -> None:
    if test_split_sha256(per_image) == test_split_sha256(test):
        return
    differing = set(per_image["image_id"]) ^ set(test["image_id"])
    reason = f"{min(differing)} is in one only" if differing else "their pixels differ"
    raise StageError(
        f"per_image.parquet: found {len(per_image)} radiographs, expected the {len(test)} of the "
        f"test split, {reason}; run the stage evaluate again",
    )


def _refuse_other_metrics(metrics: Metrics, per_image: pd.DataFrame) -> None:
    differing = differing_metrics(metrics, per_image)
    if differing:
        raise StageError(
            f"metrics.json: found another {differing[0]} than follows from per_image.parquet, "
            "expected the same; run the stage evaluate again",
        )


def _refuse_history(history: pd.DataFrame) -> None:
    if not np.isfinite(history["val_loss"]).any():
        raise StageError(
            f"history.csv: found no finite val_loss in {len(history)} epochs, expected at least "
            "one; run the stage train again",
        )


def render_page(inputs: ReportInputs, cases: list[Case], params: Params) -> str:
    """The page as HTML with every picture inside."""
    template = load_template(Path(__file__).with_name("report.html.jinja"), _percent)
    return template.render(
        metrics=inputs.metrics,
        scores=SCORES,
        worst_class=min(inputs.metrics.classes.items(), key=lambda item: item[1].dice),
        splits=pd.crosstab(inputs.split["class_name"], inputs.split["split"]).to_dict("index"),
        dice_chart=draw_dice(inputs.per_image),
        curves=_curves(inputs),
        epochs=len(inputs.history),
        best_epoch=inputs.best_epoch,
        swatches=_swatches(),
        cases={kind: [case for case in cases if case.kind == kind] for kind in _kinds(cases)},
        hashes=inputs.hashes.model_dump(),
        threshold=params.evaluate.threshold,
        params=_shown(params),
    )


def _kinds(cases: list[Case]) -> list[str]:
    return list(dict.fromkeys(case.kind for case in cases))


def _curves(inputs: ReportInputs) -> dict[str, str]:
    history, best_epoch = inputs.history, inputs.best_epoch
    return {
        "loss": draw_curves(history, "loss", best_epoch),
        "dice": draw_curves(history, "dice", best_epoch),
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


def _bind(inputs: ReportInputs, cases: list[Case], page: Path) -> Report:
    return Report(
        **dict(inputs.hashes),
        index_sha256=sha256_file(page),
        test_cases=len(inputs.per_image),
        cases=tuple(_bind_case(case) for case in cases),
    )


def _bind_case(case: Case) -> ShownCase:
    return ShownCase(
        image_id=case.image.image_id,
        kind=case.kind,
        dice=case.image.scores.dice,
        overlay=case.overlay_name,
        sha256=hashlib.sha256(case.overlay).hexdigest(),
    )
