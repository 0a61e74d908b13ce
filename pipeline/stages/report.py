"""Show a person what the model does on the test radiographs, on one page that stands by itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from pipeline.dataset.splits.table import data_sha256, read_split, select_test, test_split_sha256
from pipeline.errors import StageError
from pipeline.evaluation.cases import Case, draw_cases
from pipeline.evaluation.scores import SCORES, summarise_classes
from pipeline.files import atomic_folder, read_json, sha256_file, write_json
from pipeline.fingerprints import code_sha256
from pipeline.inference.model_files import MODEL_FILES, model_sha256
from pipeline.params import Params, flatten
from pipeline.pictures.charts import draw_curves, draw_dice
from pipeline.pictures.overlay import Area, Outline, draw_swatch
from pipeline.pictures.pages import encode_png, load_template

HISTORY = ("epoch", "loss", "val_loss", "dice", "val_dice")
SHOWN_PARAMS = ("validate", "split", "augment", "train", "evaluate", "report")


@dataclass(frozen=True)
class Evidence:
    """What the stages before left below the project's root, checked against each other."""

    root: Path
    split: pd.DataFrame
    per_image: pd.DataFrame
    metrics: dict[str, Any]
    history: pd.DataFrame

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss."""
        return int(self.history["epoch"].iloc[int(self.history["val_loss"].argmin())])

    @cached_property
    def hashes(self) -> dict[str, str]:
        """What the report is about."""
        artifacts = self.root / "artifacts"
        return {
            "model_sha256": model_sha256(artifacts / "train"),
            "test_split_sha256": test_split_sha256(select_test(self.split)),
            "data_sha256": data_sha256(self.split),
            "code_sha256": code_sha256("report"),
            "metrics_sha256": sha256_file(artifacts / "evaluate/metrics.json"),
            "per_image_sha256": sha256_file(artifacts / "evaluate/per_image.parquet"),
        }


def run(params: Params, root: Path) -> str:
    """Write artifacts/report; raises StageError when its inputs are missing or disagree."""
    evidence = read_evidence(root)
    cases = draw_cases(root, evidence.per_image, evidence.split, params.report.cases)
    with atomic_folder(root / "artifacts/report") as folder:
        (folder / "overlays").mkdir()
        for case in cases:
            (folder / case.overlay_name).write_bytes(case.overlay)
        index = folder / "index.html"
        index.write_text(render(evidence, cases, params), encoding="utf-8")
        write_json(folder / "report.json", _bind(evidence, cases, index))
    return f"report: {len(cases)} cases of {len(evidence.per_image)} test radiographs"


def read_evidence(root: Path) -> Evidence:
    """Read the inputs of the report; raises StageError when one is missing or they disagree."""
    split = read_split(root / "artifacts/split/split.csv")
    for name in MODEL_FILES:
        _demand(root / "artifacts/train" / name, "train")
    history = _read(pd.read_csv, root / "artifacts/train/history.csv", "train")
    per_image = _read(pd.read_parquet, root / "artifacts/evaluate/per_image.parquet", "evaluate")
    metrics = _read(read_json, root / "artifacts/evaluate/metrics.json", "evaluate")
    _refuse_other_split(per_image, select_test(split))
    _refuse_other_metrics(metrics, per_image)
    _refuse_history(history)
    return Evidence(root, split, per_image, metrics, history)


def _demand(path: Path, stage: str) -> None:
    if not path.is_file():
        raise StageError(f"{path}: no such file, expected it from {stage}; run the stage {stage}")


def _read(reader: Callable[[Path], Any], path: Path, stage: str) -> Any:
    _demand(path, stage)
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split())[:160]
        raise StageError(
            f"{path}: cannot be read ({detail}), expected what {stage} wrote; run the stage "
            f"{stage} again",
        ) from None


def _refuse_other_split(per_image: pd.DataFrame, test: pd.DataFrame) -> None:
    if test_split_sha256(per_image) == test_split_sha256(test):
        return
    differing = set(per_image["image_id"]) ^ set(test["image_id"])
    reason = f"{min(differing)} is in one only" if differing else "their pixels differ"
    raise StageError(
        f"per_image.parquet: found {len(per_image)} radiographs, expected the {len(test)} of the "
        f"test split, {reason}; run the stage evaluate again",
    )


def _refuse_other_metrics(metrics: dict[str, Any], per_image: pd.DataFrame) -> None:
    expected, found = flatten(summarise_classes(per_image)), flatten(metrics)
    for key in sorted(expected.keys() | found.keys()):
        if not _agree(expected.get(key), found.get(key)):
            raise StageError(
                f"metrics.json: found {key} = {found.get(key)}, expected {expected.get(key)} from "
                "per_image.parquet; run the stage evaluate again",
            )


def _agree(expected: Any, found: Any) -> bool:
    if not (isinstance(expected, int | float) and isinstance(found, int | float)):
        return False
    # Not equality: another machine may add up in another order.
    return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)


def _refuse_history(history: pd.DataFrame) -> None:
    missing = [name for name in HISTORY if name not in history]
    if missing:
        raise StageError(
            f"history.csv: found no column {', '.join(missing)}; run the stage train again"
        )
    if not np.isfinite(pd.to_numeric(history["val_loss"], errors="coerce")).any():
        raise StageError(
            f"history.csv: found no finite val_loss in {len(history)} epochs, expected at least "
            "one; run the stage train again",
        )


def render(evidence: Evidence, cases: list[Case], params: Params) -> str:
    """The page as HTML with every picture inside."""
    template = load_template(Path(__file__).with_name("report.html.jinja"), _percent)
    return template.render(
        metrics=evidence.metrics,
        scores=SCORES,
        worst_class=min(evidence.metrics["classes"].items(), key=lambda item: item[1]["dice"]),
        sides=pd.crosstab(evidence.split["class_name"], evidence.split["split"]).to_dict("index"),
        dice_chart=draw_dice(evidence.per_image),
        curves=_curves(evidence),
        epochs=len(evidence.history),
        best_epoch=evidence.best_epoch,
        swatches=_swatches(),
        cases={kind: [case for case in cases if case.kind == kind] for kind in _kinds(cases)},
        hashes=evidence.hashes,
        threshold=params.evaluate.threshold,
        params=_shown(params),
    )


def _kinds(cases: list[Case]) -> list[str]:
    return list(dict.fromkeys(case.kind for case in cases))


def _curves(evidence: Evidence) -> dict[str, str]:
    history, best_epoch = evidence.history, evidence.best_epoch
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


def _bind(evidence: Evidence, cases: list[Case], index: Path) -> dict[str, Any]:
    return {
        **evidence.hashes,
        "index_sha256": sha256_file(index),
        "test_cases": len(evidence.per_image),
        "cases": [_bind_case(case) for case in cases],
    }


def _bind_case(case: Case) -> dict[str, Any]:
    return {
        "image_id": case.row["image_id"],
        "kind": case.kind,
        "dice": float(case.row["dice"]),
        "overlay": case.overlay_name,
        "sha256": hashlib.sha256(case.overlay).hexdigest(),
    }
