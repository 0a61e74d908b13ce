from __future__ import annotations

import pytest

from pipeline.evaluation.scores import Counts
from pipeline.report.shown_cases import Case
from tests.report.drawn import drawn_case


@pytest.mark.parametrize(
    ("counts", "missed", "extra"),
    [
        (Counts(tp=80, fp=10, fn=20, tn=90), 0.2, 0.1),
        (Counts(tp=0, fp=10, fn=0, tn=90), None, None),
    ],
)
def test_missed_and_extra_area_are_shares_of_the_reference_lung(
    counts: Counts, missed: float | None, extra: float | None
) -> None:
    case = Case("worst", 1, drawn_case("N/1", counts), b"", b"", {}, ())

    assert (case.missed, case.extra) == (missed, extra)
