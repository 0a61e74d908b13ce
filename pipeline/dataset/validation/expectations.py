"""What is expected of a dataset, as Great Expectations suites with severities."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.dataset.manifest import MANIFEST
from pipeline.dataset.metadata.origins import FINDINGS, STOPPING
from pipeline.dataset.validation.convention_counts import (
    convention_expectations,
    tabulate_conventions,
    total_conventions,
)
from pipeline.dataset.validation.data_docs import Checked, publish
from pipeline.dataset.validation.drift import shift_expectations, shift_sentence
from pipeline.dataset.validation.whole import DatasetTables
from pipeline.errors import CrashedError
from pipeline.params import ValidateParams

DOCS = "gx/uncommitted/data_docs/local_site"
BY_CLASS = ("shifts", "sheets")
NAMED_TOO = {"shifts": ["remedy"]}  # what of a row is told beside what names it
MOST_CLASSES = 100  # rows of these that a message names: every class is worth a line
NAMED = 5  # rows that a message names before it says "and n more"


@dataclass(frozen=True)
class ValidationResult:
    """The failed expectations, each as one sentence."""

    critical: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class _Suite:
    """Expectations over one table."""

    name: str
    table: pd.DataFrame
    expectations: list[Any]


def check_expectations(
    tables: DatasetTables, params: ValidateParams, data_docs: Path
) -> ValidationResult:
    """Run the checkpoints over what was found and write their Data Docs to `data_docs`.

    Raises CrashedError when an expectation could not be evaluated: that is no result.
    """
    manifest, quarantine = tables.manifest, tables.quarantine
    classes = tabulate_classes(manifest, quarantine)
    share = pd.DataFrame({"share": [quarantined_share(manifest, quarantine)]})
    suites = [
        _Suite("manifest", manifest, _of_manifest(params)),
        _Suite("classes", classes, _of_classes(params)),
        _Suite("quarantine", share, _of_quarantine(params)),
        _Suite("shifts", tables.shifts, shift_expectations(params)),
        _Suite("sheets", tables.sheets, _of_sheets()),
        _Suite("conventions", total_conventions(manifest), convention_expectations(params)),
    ]
    schema = _Suite("schema", _schema_table(manifest), _of_schema())
    with tempfile.TemporaryDirectory() as project:
        checks = [
            _checked(name, result, quarantine)
            for name, result in _results(Path(project), schema, suites)
        ]
        publish(Path(project, DOCS), data_docs, checks, tabulate_conventions(manifest))
    return ValidationResult(
        critical=[text for check in checks if check.critical for text in check.problems],
        warnings=[text for check in checks if not check.critical for text in check.problems],
    )


def tabulate_classes(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    """A row per class: class_name, pairs, quarantined, flagged and of_largest.

    `flagged` is the share of the class's pairs that have a flag, `of_largest` their number as a
    share of the largest class.
    """
    in_pairs = quarantine.loc[quarantine["image_id"] != "", "image_id"]
    good = manifest["class_name"].value_counts()
    bad = in_pairs.str.split("/").str[0].value_counts()
    table = pd.DataFrame({"pairs": good, "quarantined": bad}).fillna(0).astype(int)
    flagged = (manifest["flags"] != "").groupby(manifest["class_name"]).mean()
    table["flagged"] = flagged.reindex(table.index).fillna(0.0)
    table["of_largest"] = table["pairs"] / max(1, table["pairs"].max())
    return table.sort_index().rename_axis("class_name").reset_index()


def quarantined_share(manifest: pd.DataFrame, quarantine: pd.DataFrame) -> float:
    """Share of all that was found which had to be set aside."""
    return len(quarantine) / (len(quarantine) + len(manifest))


def _critical(means: str) -> dict[str, object]:
    """The arguments of an expectation that stops the run; `means` says what its failure means."""
    description = f"Stops the run if: {means}"
    return {"severity": "critical", "meta": {"means": means}, "description": description}


def _warning(means: str) -> dict[str, object]:
    description = f"Warns if: {means}"
    return {"severity": "warning", "meta": {"means": means}, "description": description}


def _schema_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """A row per column that the manifest has or should have: its type, found and expected."""
    found = {str(name): str(kind) for name, kind in manifest.dtypes.items()}
    rows = [
        (column, found.get(column, "absent"), MANIFEST.columns.get(column, "absent"))
        for column in {**MANIFEST.columns, **found}
    ]
    return pd.DataFrame(rows, columns=["column", "found", "expected"])


def _of_schema() -> list[Any]:
    from great_expectations import expectations as gxe

    return [
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A="found",
            column_B="expected",
            **_critical("the manifest's columns or their types are not those that the stages read"),
        ),
    ]


def _of_manifest(params: ValidateParams) -> list[Any]:
    from great_expectations import expectations as gxe

    least, most = params.min_lung_area, params.max_lung_area
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, **_critical("no usable pair")),
        gxe.ExpectColumnValuesToBeUnique(column="image_id", **_critical("the same image id twice")),
        gxe.ExpectColumnValuesToBeUnique(
            column="pixel_sha256", **_warning("the same picture more than once")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="lung_area",
            min_value=least,
            max_value=most,
            **_warning(f"lungs outside {least:.0%} to {most:.0%} of the mask"),
        ),
    ]


def _of_classes(params: ValidateParams) -> list[Any]:
    from great_expectations import expectations as gxe

    fewest, flagged, ratio = params.min_pairs_per_class, params.max_flagged, params.max_class_ratio
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="pairs",
            min_value=fewest,
            **_critical(f"fewer than validate.min_pairs_per_class={fewest} pairs in a class"),
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="of_largest",
            min_value=1 / ratio,
            **_warning(
                f"the largest class has more than validate.max_class_ratio={ratio:g} times the "
                "pairs of a class",
            ),
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="flagged",
            max_value=flagged,
            **_warning(f"more than validate.max_flagged={flagged} of a class's pairs are flagged"),
        ),
    ]


def _of_quarantine(params: ValidateParams) -> list[Any]:
    from great_expectations import expectations as gxe

    most = params.max_quarantined
    return [
        gxe.ExpectColumnMaxToBeBetween(
            column="share",
            max_value=most,
            **_critical(f"more than validate.max_quarantined={most} unusable"),
        ),
    ]


def _of_sheets() -> list[Any]:
    from great_expectations import expectations as gxe

    return [
        gxe.ExpectColumnValuesToNotBeInSet(
            column="kind",
            value_set=[kind],
            **(_critical(means) if kind in STOPPING else _warning(means)),
        )
        for kind, means in FINDINGS.items()
    ]


def _results(project: Path, schema: _Suite, suites: list[_Suite]) -> list[tuple[str, Any]]:
    """What came of every expectation, with the name of its suite."""
    import great_expectations as gx

    context = gx.get_context(mode="file", project_root_dir=project)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("dataset")
    results = _run_checkpoint(context, source, schema)
    # Of a manifest with other columns nothing else can be asked.
    for suite in suites if all(result.success for _, result in results) else []:
        results += _run_checkpoint(context, source, suite)
    return results


def _run_checkpoint(context: Any, source: Any, suite: _Suite) -> list[tuple[str, Any]]:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    name = suite.name
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    expectations = context.suites.add(gx.ExpectationSuite(name, expectations=suite.expectations))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=expectations)
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name="docs")],
        # COMPLETE would repeat every row's index: megabytes at 20,000 rows.
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [
                suite.table.columns[0],
                *(["remedy"] if name == "shifts" else []),
            ],
            "partial_unexpected_count": MOST_CLASSES if name in BY_CLASS else NAMED,
        },
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": suite.table})
    results = [one for run in outcome.run_results.values() for one in run.results]
    for one in results:
        _refuse_crash(name, one)
    return [(name, one) for one in results]


def _refuse_crash(name: str, result: Any) -> None:
    """Raise CrashedError when the expectation could not be evaluated."""
    found = result.exception_info
    for info in [found] if "raised_exception" in found else found.values():  # one, or per metric
        if info["raised_exception"]:
            raise CrashedError(
                f"validate: {result.expectation_config.type} of {name} could not be evaluated "
                f"({info['exception_message']}); this says nothing of the dataset, run it again",
            )


def _checked(name: str, result: Any, quarantine: pd.DataFrame) -> Checked:
    config = result.expectation_config
    return Checked(
        suite=name,
        means=config.meta["means"],
        critical=config.severity == "critical",
        problems=[] if result.success else _sentences(name, result, quarantine),
    )


def _sentences(name: str, failure: Any, quarantine: pd.DataFrame) -> list[str]:
    result, means = failure.result, failure.expectation_config.meta["means"]
    rows = result.get("partial_unexpected_index_list")
    if name == "schema":
        columns = [f"{one['column']} is {one['found']}, expected {one['expected']}" for one in rows]
        return [f"{means}: {_listing(columns, result['unexpected_count'])}"]
    if name == "shifts":
        return [shift_sentence(one["subject"], means, one["remedy"]) for one in rows]
    if name == "sheets":
        return [one["finding"] for one in rows]
    if rows is not None:
        return [f"{means}: {_named_rows(result)}"]
    if name != "quarantine":
        return [f"{means}: found {result['observed_value']}"]
    files = [f"{row.path} ({row.reason}: {row.found})" for row in quarantine.itertuples()]
    return [f"{means}, found {float(result['observed_value']):.3g}: {_listing(files, len(files))}"]


def _named_rows(result: Any) -> str:
    named = []
    for row in result["partial_unexpected_index_list"]:
        *values, name = row.values()  # no value where the name itself is what was expected
        numbers = [f" ({value:.3g})" for value in values if not isinstance(value, str)]
        named.append(f"{name}{''.join(numbers)}")
    return _listing(named, result["unexpected_count"])


def _listing(names: list[str], total: int) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {total - NAMED} more" if total > NAMED else shown
