"""Train with several parameter sets and name the one that is best on the validation split.

`plan` brings the stages up to date that no trial changes. Each `trial` runs the stages through
`train` with parameters of its own and never looks at the test split; how many run at once is the
number of slots of the pool `gpu`. `best` names the best trial and keeps its parameters as
`preset.yaml` of the search's MLflow run; a trial that failed is named and does not lose the others.
`close` runs at the end, however the search ended, so that no record of it looks as if it were still
running; it fails when no best trial was named.
"""

from __future__ import annotations

from typing import Any

import yaml
from airflow.sdk import DAG, Param, TriggerRule
from lungseg_operator import GPU, OPTIONS, PARAMS, LungsegOperator
from lungseg_project import PROJECT
from release_operators import CloseSearchOperator

EXAMPLE = PROJECT / "presets" / "search.yaml"
SEARCH: dict[str, Any] = (
    yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")) if EXAMPLE.is_file() else {}
)
VARIABLES = {"LUNGSEG_SEARCH": "{{ params.search | tojson }}"}
TEXTS = {
    "plan": "Bring the stages up to date that no trial changes.",
    "trial": "Train with one set of parameters.",
    "best": "Name the best trial; runs however the trials ended, and fails if none succeeded.",
    "close": "Close the records of the search and its trials, however they ended.",
    "search": "What is tried, as in `presets/search.yaml`.",
}


def texts(name: str) -> dict[str, Any]:
    """Name and description of a task."""
    return {"task_id": name, "doc_md": f"{TEXTS[name]}\n\n`lungseg task {name}`"}


with DAG(
    "search",
    schedule=None,
    params={
        **PARAMS,
        "search": Param(SEARCH, type="object", description=TEXTS["search"]),
    },
    tags=["lungs", "search"],
    description="Train with several parameter sets and name the best on the validation split",
    doc_md=__doc__,
    **OPTIONS,
) as dag:
    plan = LungsegOperator(**texts("plan"), variables=VARIABLES, result="numbers")
    trials = LungsegOperator.partial(**texts("trial"), variables=VARIABLES, **GPU)
    best = LungsegOperator(**texts("best"), variables=VARIABLES, trigger_rule=TriggerRule.ALL_DONE)
    close = CloseSearchOperator(**texts("close"), variables=VARIABLES)
    trials.expand(number=plan.output) >> best >> close.as_teardown(on_failure_fail_dagrun=True)
