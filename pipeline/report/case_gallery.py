"""The gallery of all test radiographs: their thumbnails, and their rows as JSON for the script."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.evaluation.per_image import FAILURE, MEASURES, PARTS, WHOLE
from pipeline.pictures.strips import (
    ACROSS,
    SHEET_ACROSS,
    SHEET_SIZE,
    THUMBNAIL,
    join_thumbnails,
)
from pipeline.report.case_drawing import DrawnCase, strip_name
from pipeline.report.measures import MEASURES_SHOWN

FAILED, NOTHING = "failure", "nothing_stands_out"
"""Codes beside those of what is wrong."""
COLUMNS = (*(f"{part}{name}" for part in PARTS for name in MEASURES), *WHOLE[len(MEASURES) :])
"""Of per_image.parquet, that a case is shown with."""
DIGITS = 4  # behind the point


@dataclass(frozen=True)
class Gallery:
    """What the page holds of all test radiographs."""

    cases: int
    places: dict[str, int]
    """Image_id -> place among the thumbnails."""
    classes: list[str]
    sources: list[str]
    flags: dict[str, str]
    """Code of what is wrong -> what it means, of all that occur."""
    data: Markup
    """JSON that can stand in a script element."""
    sheets: list[str]
    """JPEG in base64."""
    columns: tuple[str, ...] = COLUMNS


def build_gallery(drawn: Sequence[DrawnCase]) -> Gallery:
    """The gallery of these cases, the lowest Dice first."""
    ranked = sorted(drawn, key=lambda one: (one.dice, one.image.image_id))
    classes = sorted({one.image.class_name for one in ranked})
    sources = sorted({one.image.source for one in ranked if one.image.source})
    flags = _flags(ranked)
    rows = [_row(one, classes, sources, list(flags)) for one in ranked]
    data = {
        "columns": COLUMNS,
        "classes": classes,
        "sources": sources,
        "flags": list(flags.values()),
        "failure": list(flags).index(FAILED) if FAILED in flags else -1,
        "digits": {name: measure.digits for name, measure in MEASURES_SHOWN.items()},
        "cases": rows,
        "tile": THUMBNAIL,
        "across": SHEET_ACROSS,
        "sheet": SHEET_SIZE,
        "panelsAcross": ACROSS,
    }
    sheets = join_thumbnails([one.thumbnail for one in ranked])
    return Gallery(
        cases=len(ranked),
        places={one.image.image_id: place for place, one in enumerate(ranked)},
        classes=classes,
        sources=sources,
        flags=flags,
        data=script_json(data),
        sheets=[base64.b64encode(sheet).decode() for sheet in sheets],
    )


def codes_of(case: DrawnCase) -> list[str]:
    """The codes of all that is wrong with a case, each once."""
    failed = [FAILED] if case.dice < FAILURE else []
    return [*failed, *dict.fromkeys(finding.code for finding in case.findings)]


def count_codes(cases: Sequence[DrawnCase]) -> Counter[str]:
    """In how many of these cases each code occurs."""
    return Counter(code for case in cases for code in codes_of(case))


def name_code(code: str) -> str:
    """A code in words: `base_missed` is "Base missed"."""
    if code == FAILED:
        return f"Failure (Dice below {FAILURE:.2f})"
    return code.replace("_", " ").capitalize()


def _flags(cases: Sequence[DrawnCase]) -> dict[str, str]:
    found = count_codes(cases)
    first = [FAILED] if FAILED in found else []
    return {code: name_code(code) for code in [*first, *sorted(found.keys() - {FAILED})]}


def _row(case: DrawnCase, classes: list[str], sources: list[str], flags: list[str]) -> list[Any]:
    image, numbers = case.image, case.image.row
    return [
        image.image_id,
        classes.index(image.class_name),
        sources.index(image.source) if image.source else -1,
        [flags.index(code) for code in codes_of(case)],
        [finding.sentence for finding in case.findings],
        [_rounded(numbers[name]) for name in COLUMNS],
        strip_name(image.image_id),
    ]


def _rounded(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def script_json(content: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element or begin another."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  (all that HTML gives a meaning is replaced above)
