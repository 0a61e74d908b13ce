"""The proof that no test radiograph is known from training, as Great Expectations."""

from __future__ import annotations

from typing import Any

import pandas as pd

SIDES = ("train", "val", "test")


def find_leaks(split: pd.DataFrame) -> list[str]:
    """What a split breaks of its rules, one sentence each; [] for none.

    `split` holds the columns of split.csv and `record`. The rules: every image_id stands once and
    on a known side; radiographs of one record ("" is none), of one group, and of equal pixels are
    on one side. All are critical: one sentence is a reason to stop.
    """
    import great_expectations as gx

    tables = {
        "split": split,
        "records": _sides(split[split["record"] != ""], "record"),
        "groups": _sides(split, "group"),
        "pictures": _sides(split, "pixel_sha256"),
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


def _sides(split: pd.DataFrame, column: str) -> pd.DataFrame:
    """How many sides the radiographs of each value of `column` are on: `column`, sides."""
    return split.groupby(column)["split"].nunique().rename("sides").reset_index()


def _expectations() -> dict[str, list[Any]]:
    """The suites by the name of their table."""
    from great_expectations import expectations as gxe

    def critical(means: str) -> dict[str, Any]:
        return {"severity": "critical", "meta": {"means": means}}

    def one_side(what: str) -> list[Any]:
        means = critical(f"{what} on more than one side")
        return [gxe.ExpectColumnValuesToBeBetween(column="sides", max_value=1, **means)]

    known = critical(f"sides that are none of {', '.join(SIDES)}")
    return {
        "split": [
            gxe.ExpectColumnValuesToBeUnique(column="image_id", **critical("rows of one image_id")),
            gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SIDES), **known),
        ],
        "records": one_side("patients or sources"),
        "groups": one_side("groups"),
        "pictures": one_side("identical pictures"),
    }


def _sentence(failure: Any) -> str:
    return f"{failure.result['unexpected_count']} {failure.expectation_config.meta['means']}"
