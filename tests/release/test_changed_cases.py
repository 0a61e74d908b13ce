from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.release.changed_cases import choose_changed, draw_changed
from pipeline.release.paired_scores import ComparedModel, pair_scores
from pipeline.release.scored_conventions import ASKED
from tests.release.runs import split_of, write_data


class Listener:
    """Marks nothing, and notes the conventions that it is asked for."""

    def __init__(self, *conventions: str) -> None:
        self.conventions, self.asked = conventions, list[str]()

    def predict(
        self, images: Sequence[Any], sizes: Any = None, conventions: Sequence[str] | None = None
    ) -> list[NDArray[np.float32]]:
        self.asked += conventions or ()
        return [np.zeros(image.shape, np.float32) for image in images]


def model(
    name: str, table: pd.DataFrame, split: pd.DataFrame, segmenter: Listener
) -> ComparedModel:
    return ComparedModel(
        name=name,
        detail="",
        per_image=table,
        split=split,
        segmenter=segmenter,
        threshold=0.5,
    )


def test_each_model_marks_in_the_convention_that_it_was_scored_in(tmp_path: Path) -> None:
    table = write_data(tmp_path, {"A": [0.9, 0.9]}, conventions={"A": "standard"})
    renamed = table.assign(convention="glow")
    before = renamed.drop(columns="convention").assign(dice=[0.8, 1.0], **{ASKED: "bright"})
    first, second = Listener("standard", "bright"), Listener("standard", "glow")
    split = split_of(renamed, tmp_path)
    paired = pair_scores(model("A", before, split, first), model("B", renamed, split, second))

    drawn, problems = draw_changed(paired, choose_changed(paired), lambda _: tmp_path)

    assert problems == []
    assert [case.views[0].overlay is not None for case in drawn] == [True, True]
    assert first.asked == ["bright"] * 2
    assert second.asked == ["glow"] * 2
