"""The numbers of the report: against their bounds, by class, source and side, and by error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.conventions import in_order
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.metrics import Metrics, PartSummary, Summary
from pipeline.evaluation.per_image import FAILURE, LOW_IS_GOOD
from pipeline.params import GateParams
from pipeline.report.case_drawing import DrawnCase
from pipeline.report.case_gallery import NOTHING, count_codes, name_code
from pipeline.report.measures import FAILURE_SHARE, MEASURES_SHOWN, Measure

SCORED = tuple(name for name in MEASURES_SHOWN if name != "tta_dice")
"""The measures of the tables."""

CONFIRMED_ROW = "Convention confirmed by a person"


ONE_GROUP = "one group"
"""In place of an interval: resampling a single group says nothing."""

NO_ERRORS = frozenset({NOTHING, "equal", "one_reference_lung", "empty_reference"})
"""Findings that say nothing against a prediction."""


@dataclass(frozen=True)
class BoundedScore:
    """A line of the summary: a mean over the test radiographs against what the run asks for."""

    title: str
    value: str
    interval: str
    bound: str
    """Empty where there is none."""
    reached: bool | None
    """Whether the mean keeps the bound; None without one."""
    words: str


@dataclass(frozen=True)
class Cell:
    """A measure of some radiographs."""

    main: str
    below: str
    """An interval, or the other end of the spread."""


@dataclass(frozen=True)
class ScoreRow:
    """A row of the tables of scores: some of the radiographs, or one side of all."""

    name: str
    kind: str
    """all, class, source, convention, confirmed or side."""
    cases: int
    groups: int
    means: Mapping[str, Cell]
    """By measure, each with its 95 % interval."""
    spreads: Mapping[str, Cell]
    """By measure: the median, and the percentile towards the worse."""
    distances: str
    """HD95 and ASSD in millimetres where the spacing is known."""


@dataclass(frozen=True)
class ErrorCount:
    """How often one thing is wrong."""

    code: str
    words: str
    cases: int
    classes: Mapping[str, int]


def compare_with_bounds(metrics: Metrics, bounds: GateParams) -> list[BoundedScore]:
    """The lines of the summary; without an interval where it would be of a single group."""
    intervals = metrics.intervals if metrics.groups > 1 else dict.fromkeys(metrics.intervals)
    every_class = all(one.groups > 1 for one in metrics.classes.values())
    at_least = {"accuracy": bounds.min_accuracy, "dice": bounds.min_dice}
    worst = min(metrics.classes, key=lambda name: metrics.classes[name].dice)
    dice = MEASURES_SHOWN["dice"]
    return [
        *(
            _bounded(
                f"Mean {MEASURES_SHOWN[name].title if name == 'dice' else 'accuracy'}",
                MEASURES_SHOWN[name],
                getattr(metrics, name),
                intervals[name],
                least=bound,
            )
            for name, bound in at_least.items()
        ),
        _bounded(
            f"Mean Dice of the weakest class, {worst}",
            dice,
            metrics.worst_class_dice,
            metrics.worst_class_interval if every_class else None,
            least=bounds.min_worst_class_dice,
        ),
        _bounded(
            f"Failures: share with a Dice below {FAILURE:.2f}",
            FAILURE_SHARE,
            metrics.failures,
            intervals["failures"],
            most=bounds.max_failures,
        ),
        _bounded(
            "Mean HD95, pixels of the mask",
            MEASURES_SHOWN["hd95"],
            metrics.hd95,
            intervals["hd95"],
            most=bounds.max_hd95,
        ),
        _bounded(
            "Mean NSD within 2 pixels",
            MEASURES_SHOWN["nsd"],
            metrics.nsd,
            intervals["nsd"],
        ),
        _bounded(
            "Mean ECE: calibration error",
            MEASURES_SHOWN["ece"],
            metrics.ece,
            intervals["ece"],
            most=bounds.max_ece,
        ),
    ]


def _bounded(
    title: str,
    measure: Measure,
    value: float,
    interval: Interval | None,
    least: float | None = None,
    most: float | None = None,
) -> BoundedScore:
    written = measure.write(value), _interval(measure, interval)
    if least is None and most is None:
        return BoundedScore(title, *written, "", None, "The gate has no bound for it.")
    low, high = interval or (value, value)
    if least is not None:
        sure, possible, reached = low >= least, high >= least, value >= least
        bound, sides = f"≥ {least:g}", ("above", "below")
    else:
        assert most is not None  # noqa: S101  (one of the two is given)
        sure, possible, reached = high <= most, low <= most, value <= most
        bound, sides = f"≤ {most:g}", ("below", "above")
    if interval is None:
        kept = "keeps" if reached else "does not keep"
        words = f"The mean {kept} the bound; one group does not say how others might differ."
        return BoundedScore(title, *written, bound, reached, words)
    return BoundedScore(title, *written, bound, reached, _in_words(*sides, sure, possible, reached))


def _in_words(good: str, bad: str, sure: bool, possible: bool, reached: bool) -> str:
    if sure:
        return f"The whole interval lies {good} the bound."
    if reached:
        return f"The mean keeps the bound, but the interval reaches {bad} it: others might not."
    if possible:
        return f"The mean does not keep the bound; the interval reaches {good} it."
    return f"The whole interval lies {bad} the bound."


def _interval(measure: Measure, interval: Interval | None) -> str:
    if interval is None:
        return ONE_GROUP
    return f"{measure.write(interval[0])} to {measure.write(interval[1])}"


def table_rows(metrics: Metrics) -> list[ScoreRow]:
    """As metrics.json has them: all, classes, sources, conventions, confirmed ones, both lungs."""
    rows = [_row("All", "all", metrics, metrics)]
    rows += [_row(name, "class", one, one) for name, one in sorted(metrics.classes.items())]
    rows += [_row(name, "source", one, one) for name, one in sorted(metrics.sources.items())]
    conventions = metrics.conventions
    rows += [
        _row(name, "convention", conventions[name], conventions[name])
        for name in in_order(conventions)
    ]
    if metrics.confirmed:
        rows.append(_row(CONFIRMED_ROW, "confirmed", metrics.confirmed, metrics.confirmed))
    sides = (("Left lung", metrics.left), ("Right lung", metrics.right))
    return [*rows, *(_row(name, "side", part, metrics) for name, part in sides)]


def _row(name: str, kind: str, part: PartSummary, counted: Summary) -> ScoreRow:
    return ScoreRow(
        name=name,
        kind=kind,
        cases=counted.cases,
        groups=counted.groups,
        means=dict(_means(part, counted.groups)),
        spreads=dict(_spreads(part)),
        distances=_millimetres(part) if isinstance(part, Summary) else "",
    )


def _means(part: PartSummary, groups: int) -> Iterator[tuple[str, Cell]]:
    measures = {name: MEASURES_SHOWN[name] for name in SCORED} | {"failures": FAILURE_SHARE}
    for name, measure in measures.items():
        if name in part.intervals:
            mean = measure.write(getattr(part, name))
            interval = part.intervals[name] if groups > 1 else None
            yield name, Cell(mean, _interval(measure, interval))


def _spreads(part: PartSummary) -> Iterator[tuple[str, Cell]]:
    for name in SCORED:
        if name in part.medians:
            measure = MEASURES_SHOWN[name]
            worse = part.p95[name] if name in LOW_IS_GOOD else part.p05[name]
            yield name, Cell(measure.write(part.medians[name]), measure.write(worse))


def _millimetres(summary: Summary) -> str:
    if not summary.with_spacing or summary.hd95_mm is None or summary.assd_mm is None:
        return "spacing not recorded"
    return (
        f"HD95 {summary.hd95_mm:.1f} mm, ASSD {summary.assd_mm:.1f} mm "
        f"({summary.with_spacing} of {summary.cases} with a known spacing)"
    )


def count_errors(drawn: Sequence[DrawnCase], classes: Sequence[str]) -> list[ErrorCount]:
    """What is wrong how often, the most frequent first; at last what is no error."""
    found = count_codes(drawn)
    by_class = {
        name: count_codes([one for one in drawn if one.image.class_name == name])
        for name in classes
    }
    ranked = sorted(found, key=lambda code: (code in NO_ERRORS, -found[code], code))
    return [
        ErrorCount(
            code, name_code(code), found[code], {name: by_class[name][code] for name in classes}
        )
        for code in ranked
    ]
