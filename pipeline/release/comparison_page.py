"""One page that shows how two models differ on the same radiographs, and stands by itself."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pipeline.errors import ReleaseError
from pipeline.evaluation.intervals import RESAMPLES
from pipeline.evaluation.per_image import FAILURE
from pipeline.files import atomic_path
from pipeline.pictures.overlay import Area, Outline, draw_swatch
from pipeline.pictures.pages import encode_png, load_template
from pipeline.release.changed_cases import ChangedCase, FetchData, choose_changed, draw_changed
from pipeline.release.paired_charts import draw_differences, draw_paired_dice
from pipeline.release.paired_scores import PairedScores, ScoreChange

MARK = '<meta name="generator" content="lungseg compare">'
"""By which a page is known as one of these, which another may replace."""


def write_comparison(paired: PairedScores, fetch: FetchData, page: Path) -> list[str]:
    """Write the page; returns why it lacks pictures, each reason in a sentence.

    `fetch` gives the radiographs of which pictures are drawn. Raises ReleaseError when `page` is
    a file that this did not write.
    """
    refuse_other_file(page)
    cases, problems = draw_changed(paired, choose_changed(paired), fetch)
    with atomic_path(page) as partial:
        partial.write_text(_render(paired, cases, problems), encoding="utf-8")
    return problems


def refuse_other_file(page: Path) -> None:
    """Raise ReleaseError when there is a file at `page` that is no such page."""
    if not page.exists():
        return
    if page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        return
    raise ReleaseError(
        f"{page}: exists and is no page of a comparison, so it is not replaced; name another "
        "file with --out",
    )


def _render(paired: PairedScores, cases: list[ChangedCase], problems: list[str]) -> str:
    template = load_template(Path(__file__).with_name("comparison.html.jinja"), _percent)
    dice = paired.of("dice")
    return template.render(
        mark=MARK,
        resamples=RESAMPLES,
        models=dict(zip("AB", paired.models, strict=True)),
        cases=len(paired.labels),
        groups=paired.labels["group"].nunique(),
        notes=[*paired.notes, *problems],
        dice=dice,
        failures=paired.failures,
        failure=FAILURE,
        gains=paired.dice_gain,
        charts={"dice": draw_paired_dice(paired), "differences": draw_differences(dice)},
        parts=_parts(paired),
        shown={
            kind: [case for case in cases if case.direction == kind]
            for kind in ("worsened", "improved")
        },
        swatches={
            kind: encode_png(draw_swatch(kind)) for kind in (*get_args(Area), *get_args(Outline))
        },
    )


def _parts(paired: PairedScores) -> dict[tuple[str, str], list[ScoreChange]]:
    """The changes of every measure, by kind and name of the part."""
    found: dict[tuple[str, str], list[ScoreChange]] = {}
    for change in paired.changes:
        found.setdefault((change.kind, change.part), []).append(change)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
