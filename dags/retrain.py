"""Retrain the lung segmentation and release it if the gate lets it pass.

One task per stage of `dvc.yaml`, with the same edges, then `gate` and `promote`. Each task works in
the checkout of its run, at the revision asked for; a stage whose code, data and parameters did not
change comes from the cache in seconds. The gate compares the candidate with the thresholds and the
champion. A refusal is an answer, not a failure: `promote` is then skipped, with the reason in its
log. A release emits an event of the asset `lung-segmentation`.

A task that dies or meets a silent service is tried again; one that is wrong in itself (a parameter,
a dataset) is not.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

import yaml
from airflow.sdk import DAG, Param
from airflow.sdk.definitions.asset import Model
from lungseg_operator import GPU, OPTIONS, PARAMS, REPO, LungsegOperator

STAGES: dict[str, Any] = yaml.safe_load((REPO / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SCHEDULE = os.environ.get("LUNGSEG_SCHEDULE", "@weekly").strip()
MODEL = Model(name="lung-segmentation", uri="mlflow://models/lung-segmentation")
TEXTS = {
    "gate": "Compare the candidate with the thresholds and with the champion.",
    "promote": "Make the candidate the champion; skipped when the gate refused it.",
    "force": "Run every stage, also one whose result is in the cache.",
}


def paths(stage: dict[str, Any], *keys: str) -> set[PurePosixPath]:
    """What a stage lists under `keys`, as plain entries or as `path: options`."""
    entries = [entry for key in keys for entry in stage.get(key, [])]
    return {PurePosixPath(next(iter(e)) if isinstance(e, dict) else e) for e in entries}


def feeds(earlier: dict[str, Any], later: dict[str, Any]) -> bool:
    """Whether `later` reads an out of `earlier`, a part of one or a folder that holds one."""
    outs = paths(earlier, "outs", "metrics", "plots")
    deps = paths(later, "deps")
    return any(dep.is_relative_to(out) or out.is_relative_to(dep) for dep in deps for out in outs)


def task(name: str, **options: Any) -> LungsegOperator:
    """The task of a stage, of the gate or of the promotion."""
    text = STAGES.get(name, {}).get("desc") or TEXTS.get(name) or f"Stage `{name}` of dvc.yaml."
    return LungsegOperator(task_id=name, doc_md=f"{text}\n\n`lungseg task {name}`", **options)


with DAG(
    "retrain",
    schedule=None if SCHEDULE in ("", "none") else SCHEDULE,
    params={
        **PARAMS,
        "force": Param(False, type="boolean", description=TEXTS["force"]),
    },
    tags=["lungs", "release"],
    description="Retrain the lung segmentation and release it if the gate lets it pass",
    doc_md=__doc__,
    **OPTIONS,
) as dag:
    tasks = {name: task(name, **(GPU if name == "train" else {})) for name in STAGES}
    for later in STAGES:
        for earlier in STAGES:
            if earlier != later and feeds(STAGES[earlier], STAGES[later]):
                tasks[earlier] >> tasks[later]
    last = [operator for operator in tasks.values() if not operator.downstream_list]
    last >> task("gate") >> task("promote", outlets=[MODEL])
