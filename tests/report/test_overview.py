from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.per_image import per_image_table
from pipeline.params import GateParams, Params
from pipeline.report.overview import compare_with_bounds, count_errors, table_rows
from tests.evaluation.images import image_of
from tests.report.drawn import BAD, GOOD, drawn_case


def told_metrics() -> Metrics:
    """Of two conventions, one of whose radiographs a person confirmed."""
    images = [
        replace(image_of(f"N/{n}", GOOD), convention=name, convention_by=by)
        for n, (name, by) in enumerate([("a", ""), ("standard", "person"), ("a", "import")])
    ]
    return Metrics.of(per_image_table(images))


def metrics_of(*counts: tuple[str, object]) -> Metrics:
    return Metrics.of(
        per_image_table(image_of(image_id, count) for image_id, count in counts)  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def mixed() -> Metrics:
    """Nine good radiographs of N and three bad ones of C."""
    good = [(f"N/{n}", GOOD) for n in range(9)]
    return metrics_of(*good, *[(f"C/{n}", BAD) for n in range(3)])


def bounds(params: Params, **changed: float) -> GateParams:
    return params.gate.model_copy(update=changed)


def test_the_words_say_where_the_interval_lies(mixed: Metrics, params: Params) -> None:
    low, high = mixed.intervals["dice"]
    said = {
        bound: next(
            one.words
            for one in compare_with_bounds(mixed, bounds(params, min_dice=bound))
            if one.title == "Mean Dice"
        )
        for bound in (0.1, (low + mixed.dice) / 2, (mixed.dice + high) / 2, 0.999)
    }

    assert list(said.values()) == [
        "The whole interval lies above the bound.",
        "The mean keeps the bound, but the interval reaches below it: others might not.",
        "The mean does not keep the bound; the interval reaches above it.",
        "The whole interval lies below the bound.",
    ]


def test_one_group_has_no_interval_and_nothing_is_concluded_from_it(params: Params) -> None:
    single = metrics_of(*[(f"N/{n}", GOOD) for n in range(9)], ("C/1", BAD))

    said = {one.title: one for one in compare_with_bounds(single, params.gate)}
    rows = {row.name: row.means["dice"].below for row in table_rows(single)}

    worst = said["Mean Dice of the weakest class, C"]
    assert (worst.interval, worst.reached) == ("one group", False)
    assert worst.words == (
        "The mean does not keep the bound; one group does not say how others might differ."
    )
    assert " to " in said["Mean Dice"].interval
    assert rows["C"] == "one group"
    assert " to " in rows["N"]


def test_a_bound_from_above_is_turned_round(mixed: Metrics, params: Params) -> None:
    kept = {one.title: one for one in compare_with_bounds(mixed, bounds(params, max_hd95=99))}
    broken = {one.title: one for one in compare_with_bounds(mixed, bounds(params, max_hd95=0.1))}

    title = "Mean HD95, pixels of the mask"
    assert (kept[title].reached, kept[title].bound) == (True, "≤ 99")
    assert kept[title].words == "The whole interval lies below the bound."
    assert (broken[title].reached, broken[title].words) == (
        False,
        "The whole interval lies above the bound.",
    )
    assert kept["Mean NSD within 2 pixels"].reached is None
    assert kept["Mean Dice of the weakest class, C"].value == f"{mixed.classes['C'].dice:.4f}"


def test_the_table_has_all_classes_sources_and_sides(mixed: Metrics) -> None:
    rows = table_rows(mixed)

    assert [(row.kind, row.name, row.cases) for row in rows] == [
        ("all", "All", 12),
        ("class", "C", 3),
        ("class", "N", 9),
        ("source", "(not recorded)", 12),
        ("side", "Left lung", 12),
        ("side", "Right lung", 12),
    ]
    low, high = mixed.classes["N"].intervals["dice"]
    assert rows[2].means["dice"].main == f"{mixed.classes['N'].dice:.4f}"
    assert rows[2].means["dice"].below == f"{low:.4f} to {high:.4f}"
    assert rows[0].spreads["hd95"].below == f"{mixed.p95['hd95']:.2f}"
    assert "failures" not in rows[-1].means
    assert rows[0].distances == "spacing not recorded"


def test_distances_are_in_millimetres_where_the_spacing_is_known() -> None:
    known = image_of("N/1", GOOD, hd95=4, spacing=0.5)
    table = per_image_table([known, image_of("N/2", GOOD, hd95=4)])

    assert table_rows(Metrics.of(table))[0].distances == (
        "HD95 2.0 mm, ASSD 1.0 mm (1 of 2 with a known spacing)"
    )


def test_errors_are_counted_by_class_and_what_is_none_comes_last() -> None:
    drawn = [
        drawn_case("N/1", GOOD, "nothing_stands_out"),
        drawn_case("N/2", GOOD, "nothing_stands_out"),
        drawn_case("N/3", GOOD, "equal"),
        drawn_case("N/4", GOOD, "one_reference_lung"),
        drawn_case("C/1", GOOD, "hole"),
    ]

    found = count_errors(drawn, ["C", "N"])

    assert [(one.code, one.cases, one.classes) for one in found] == [
        ("hole", 1, {"C": 1, "N": 0}),
        ("nothing_stands_out", 2, {"C": 0, "N": 2}),
        ("equal", 1, {"C": 0, "N": 1}),
        ("one_reference_lung", 1, {"C": 0, "N": 1}),
    ]


def test_conventions_have_rows_and_so_have_the_confirmed() -> None:
    rows = [row for row in table_rows(told_metrics()) if row.kind in ("convention", "confirmed")]

    assert [(row.name, row.cases) for row in rows] == [
        ("standard", 1),
        ("a", 2),
        ("Convention confirmed by a person", 1),
    ]


def test_one_convention_that_nobody_confirmed_has_no_row(mixed: Metrics) -> None:
    assert {row.kind for row in table_rows(mixed)} == {"all", "class", "source", "side"}
