"""The proof that no test radiograph is known from training, as Great Expectations."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.dataset.splits.table import SPLITS


def find_leaks(split: pd.DataFrame) -> list[str]:
    """What a split breaks of its rules, one sentence each; [] for none.

    `split` holds the columns of split.csv and `origin`. The rules: every image_id stands once and
    in a known split; radiographs of one origin ("" is none), of one group, and of equal pixels are
    in one split. All are critical: one sentence is a reason to stop.
    """
    import great_expectations as gx

    tables = {
        "split": split,
        "origins": _splits_of(split[split["origin"] != ""], "origin"),
        "groups": _splits_of(split, "group"),
        "pictures": _splits_of(split, "pixel_sha256"),
    }
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("split")
    leaks = []
    for name, expectations in _expectations().items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(name, expectations=expectations)
        verdict = batch.get_batch({"dataframe": tables[name]}).validate(suite)
        leaks += [_sentence(result) for result in verdict.results if not result.success]
    return leaks


def _splits_of(split: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many splits the radiographs of each value of `column` are in: `column`, splits."""
    return split.groupby(column)["split"].nunique().rename("splits").reset_index()


def _expectations() -> dict[str, list[Any]]:
    """The suites by the name of their table."""
    from great_expectations import expectations as gxe

    def critical(means: str) -> dict[str, object]:
        return {"severity": "critical", "meta": {"means": means}}

    def one_split(what: str) -> list[Any]:
        means = critical(f"{what} in more than one split")
        return [gxe.ExpectColumnValuesToBeBetween(column="splits", max_value=1, **means)]

    known = critical(f"splits that are none of {', '.join(SPLITS)}")
    return {
        "split": [
            gxe.ExpectColumnValuesToBeUnique(column="image_id", **critical("rows of one image_id")),
            gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS), **known),
        ],
        "origins": one_split("patients or sources"),
        "groups": one_split("groups"),
        "pictures": one_split("identical pictures"),
    }


def _sentence(failure: Any) -> str:
    return f"{failure.result['unexpected_count']} {failure.expectation_config.meta['means']}"
