"""What is expected of a dataset, as Great Expectations suites with severities."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.params import ValidateParams

NAMED = 5  # records that a message names before it says "and n more"


@dataclass(frozen=True)
class Verdict:
    """The failed expectations, each as one sentence."""

    critical: list[str]
    warnings: list[str]


def judge(
    manifest: pd.DataFrame,
    quarantine: pd.DataFrame,
    params: ValidateParams,
    data_docs: Path,
) -> Verdict:
    """Run the checkpoints over what was found and write their Data Docs to `data_docs`."""
    tables = {
        "manifest": manifest,
        "classes": count_classes(manifest, quarantine),
        "quarantine": pd.DataFrame({"share": [quarantined_share(manifest, quarantine)]}),
    }
    with tempfile.TemporaryDirectory() as project:
        failures = _failures(Path(project), tables, _suites(params))
        shutil.copytree(Path(project, "gx/uncommitted/data_docs/local_site"), data_docs)
    sentences = [(one.expectation_config.severity, _sentence(one, quarantine)) for one in failures]
    return Verdict(
        critical=[sentence for severity, sentence in sentences if severity == "critical"],
        warnings=[sentence for severity, sentence in sentences if severity != "critical"],
    )


def count_classes(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    """Return a row per class: class_name, pairs, quarantined."""
    good = manifest["class_name"].value_counts()
    bad = quarantine["path"].str.split("/").str[0].value_counts()
    table = pd.DataFrame({"pairs": good, "quarantined": bad}).fillna(0).astype(int)
    return table.sort_index().rename_axis("class_name").reset_index()


def quarantined_share(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> float:
    """Share of all that was found which had to be set aside."""
    return len(quarantine) / (len(quarantine) + len(manifest))


def _suites(params: ValidateParams) -> dict[str, list[Any]]:
    from great_expectations import expectations as gxe

    def critical(means: str) -> dict[str, Any]:
        return {"severity": "critical", "meta": {"means": means}}

    def warning(means: str) -> dict[str, Any]:
        return {"severity": "warning", "meta": {"means": means}}

    fewest, area = params.min_pairs_per_class, (params.min_lung_area, params.max_lung_area)
    return {
        "manifest": [
            gxe.ExpectTableRowCountToBeBetween(min_value=1, **critical("no usable pair")),
            gxe.ExpectColumnValuesToBeUnique(
                column="image_id",
                **critical("the same image id twice"),
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column="pixel_sha256",
                **warning("the same picture more than once"),
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="lung_area",
                min_value=area[0],
                max_value=area[1],
                **warning(f"lungs outside {area[0]:.0%} to {area[1]:.0%} of the mask"),
            ),
        ],
        "classes": [
            gxe.ExpectColumnValuesToBeBetween(
                column="pairs",
                min_value=fewest,
                **critical(f"fewer than validate.min_pairs_per_class={fewest} pairs in a class"),
            ),
        ],
        "quarantine": [
            gxe.ExpectColumnMaxToBeBetween(
                column="share",
                max_value=params.max_quarantined,
                **critical(f"more than validate.max_quarantined={params.max_quarantined} unusable"),
            ),
        ],
    }


def _failures(
    project: Path,
    tables: dict[str, pd.DataFrame],
    suites: dict[str, list[Any]],
) -> list[Any]:
    import great_expectations as gx

    context = gx.get_context(mode="file", project_root_dir=project)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("dataset")
    return [
        result
        for name, table in tables.items()
        for result in _run_checkpoint(context, source, name, table, suites[name])
        if not result.success
    ]


def _run_checkpoint(
    context: Any,
    source: Any,
    name: str,
    table: pd.DataFrame,
    expectations: list[Any],
) -> list[Any]:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name="docs")],
        # COMPLETE would repeat every row's index: megabytes at 20,000 rows.
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [table.columns[0]],
            "partial_unexpected_count": NAMED,
        },
    )
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
    return [one for run in result.run_results.values() for one in run.results]


def _sentence(failure: Any, quarantine: pd.DataFrame) -> str:
    result = failure.result
    means = failure.expectation_config.meta["means"]
    if "partial_unexpected_index_list" in result:
        return f"{means}: {_records(result)}"
    files = [f"{row.path} ({row.reason}: {row.found})" for row in quarantine.itertuples()]
    return f"{means}, found {float(result['observed_value']):.3g}: {_listing(files, len(files))}"


def _records(result: dict[str, Any]) -> str:
    named = []
    for record in result["partial_unexpected_index_list"]:
        value, name = record.values()
        named.append(str(name) if isinstance(value, str) else f"{name} ({value:.3g})")
    return _listing(named, result["unexpected_count"])


def _listing(names: list[str], total: int) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {total - NAMED} more" if total > NAMED else shown
