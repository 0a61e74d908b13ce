"""Retrain the lung segmentation and release it if the gate lets it pass.

One task per stage of `dvc.yaml`, with the same edges, then `gate` and `promote`. Each task works in
the checkout of its run, at the revision asked for; a stage whose code, data and parameters did not
change comes from the cache in seconds. The gate compares the candidate with the thresholds and the
champion. A refusal is an answer, not a failure: `promote` is then skipped, with the reason in its
log. A release emits an event of the asset `lung-segmentation`, once.

Where `params.yaml` says `gate.approval: required`, the task `approve` waits between the two for a
person, who approves or rejects on the page Required Actions. `close` runs at the end, however the
run ended, so that no failed run looks as if it were still running; it fails when the run did.

A task that dies or meets a silent service is tried again, by its kind; one that is wrong in itself
(a parameter, a dataset) is not.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import yaml
from airflow.sdk import DAG, Param, TriggerRule, chain
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from lungseg_notices import deadline_missed
from lungseg_operator import GPU, OPTIONS, PARAMS, LungsegOperator
from lungseg_project import PROJECT
from lungseg_schedule import MODEL, schedule
from release_operators import ApproveOperator, CloseOperator


def section(file: str, name: str) -> dict[str, Any]:
    """A section of a YAML file of the deployed project."""
    content: dict[str, Any] = yaml.safe_load((PROJECT / file).read_text(encoding="utf-8"))[name]
    return content


STAGES = section("dvc.yaml", "stages")
IN_PARTS = [name for name in STAGES if STAGES[name].get("meta", {}).get("parts")]
"""Stages of which several hosts can do a part each, before the stage puts them together."""
PARTS = section("params.yaml", "stages")["parts"] > 1
APPROVAL = section("params.yaml", "gate").get("approval") == "required"
RELEASE: dict[str, Any] = {"pool": "release", "inlets": [MODEL], "outlets": [MODEL]}
"""Of the promotion: one at a time, which knows the events that there are."""
HOURS = float(os.environ.get("LUNGSEG_DEADLINE_HOURS") or 0)
DEADLINE = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(hours=HOURS),
    callback=SyncCallback(deadline_missed, {"hours": HOURS}),
)
"""After which people are told that a run has not ended; it goes on."""
TEXTS = {
    "plan": "Open the run and say in how many parts stages are done.",
    "gate": "Compare the candidate with the thresholds and with the champion.",
    "approve": "Ask a person whether the candidate is released; skipped when nobody needs to.",
    "promote": "Make the candidate the champion; skipped when nothing is released.",
    "close": "Close the record of the run, however it ended; fails when the run did.",
    "force": "Run every stage, also one whose result is in the cache.",
    "allow_lowered": "Name of the person who answers for what this run lowers: bounds of the gate, "
    "conventions of the champion that its model does not answer in, the one that it answers in by "
    "default; empty: nobody does, and the gate refuses.",
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


def task(
    name: str, operator: type[LungsegOperator] = LungsegOperator, **options: Any
) -> LungsegOperator:
    """The task of a stage, or one of those after the stages."""
    text = STAGES.get(name, {}).get("desc") or TEXTS.get(name) or f"Stage `{name}` of dvc.yaml."
    return operator(task_id=name, doc_md=f"{text}\n\n`lungseg task {name}`", **options)


def in_parts(name: str, plan: LungsegOperator) -> Any:
    """The mapped task that does the stage's parts; a plan without any skips it, not the stage."""
    tasks[name].trigger_rule = TriggerRule.NONE_FAILED
    mapped = LungsegOperator.partial(
        task_id=f"{name}_parts", verb=name, doc_md=f"The stage `{name}`, a part on each host."
    )
    return mapped.expand(part=plan.output)


with DAG(
    "retrain",
    schedule=schedule(),
    params={
        **PARAMS,
        "force": Param(False, type="boolean", description=TEXTS["force"]),
        "allow_lowered": Param("", type=["null", "string"], description=TEXTS["allow_lowered"]),
    },
    tags=["lungs", "release"],
    description="Retrain the lung segmentation and release it if the gate lets it pass",
    doc_md=__doc__,
    deadline=DEADLINE if HOURS else None,
    **OPTIONS,
) as dag:
    tasks = {name: task(name, **(GPU if name == "train" else {})) for name in STAGES}
    begins = dict(tasks)
    """The task, or mapped task, by which each stage begins."""
    if PARTS:
        plan = task("plan", result="parts")
        for name in IN_PARTS:
            begins[name] = in_parts(name, plan)
            begins[name] >> tasks[name]
    for later in STAGES:
        for earlier in STAGES:
            if earlier != later and feeds(STAGES[earlier], STAGES[later]):
                tasks[earlier] >> begins[later]
    last = [operator for operator in tasks.values() if not operator.downstream_list]
    # A gate that asks nobody skips `approve`; a rejection is for `promote` to record.
    asked = [task("approve", ApproveOperator)] if APPROVAL else []
    promote = task("promote", **RELEASE, trigger_rule=TriggerRule.NONE_FAILED)
    close = task("close", CloseOperator).as_teardown(on_failure_fail_dagrun=True)
    chain(last, task("gate"), *asked, promote, close)
