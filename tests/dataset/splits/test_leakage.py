from __future__ import annotations

import pandas as pd
import pytest

from pipeline.dataset.splits.leakage import find_leaks

GOOD = pd.DataFrame(
    {
        "image_id": ["A/1", "A/2", "A/3", "B/1"],
        "pixel_sha256": ["p", "p", "q", "r"],
        "origin": ["patient 1", "patient 1", "", ""],
        "group": ["A/1", "A/1", "A/1", "B/1"],
        "split": ["test", "test", "test", "train"],
    },
)


def test_a_split_by_groups_has_no_leak() -> None:
    assert find_leaks(GOOD) == []


@pytest.mark.parametrize(
    ("column", "values", "leaks"),
    [
        ("image_id", ["A/1", "A/2", "A/3", "A/1"], ["2 rows of one image_id"]),
        ("split", ["test", "test", "test", "x"], ["1 splits that are none of train, val, test"]),
        ("split", ["test", "test", "val", "train"], ["1 groups in more than one split"]),
        ("pixel_sha256", ["p", "p", "q", "q"], ["1 identical pictures in more than one split"]),
        (
            "origin",
            ["patient 1", "patient 1", "source u", "source u"],
            ["1 patients or sources in more than one split"],
        ),
    ],
)
def test_every_rule_that_is_broken_is_told(
    column: str, values: list[str], leaks: list[str]
) -> None:
    assert find_leaks(GOOD.assign(**{column: values})) == leaks
