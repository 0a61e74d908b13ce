"""A DAG as Airflow reads it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

READ_DAGS = """
import json, sys, time
from pathlib import Path
import airflow.sdk, airflow.sdk.definitions.asset, yaml
from airflow.dag_processing.dagbag import BundleDagBag
began = time.perf_counter()
bag = BundleDagBag(sys.argv[1], bundle_path=Path(sys.argv[1]), bundle_name="dags")
seconds = time.perf_counter() - began
dag = bag.dags.get(sys.argv[2])
heavy = ("tensorflow", "keras", "mlflow", "pipeline", "great_expectations", "cv2", "optuna")
def schedule_of(dag):
    if dag.schedule is None or isinstance(dag.schedule, str):
        return dag.schedule
    clock = getattr(dag.timetable, "timetable", None)
    assets = dag.timetable.asset_condition.objects
    return {
        "clock": clock and clock.expression,
        "watched": {asset.name: asset.watchers[0].trigger.serialize() for asset in assets},
    }


answer = {
    "errors": bag.import_errors,
    "seconds": seconds,
    "heavy": [name for name in heavy if name in sys.modules],
    "project": [name for name in sys.modules if name.partition(".")[0] == "pipeline"],
}
if dag:
    answer |= {
        "edges": {name: sorted(task.upstream_task_ids) for name, task in dag.task_dict.items()},
        "pools": {name: [task.pool, task.queue] for name, task in dag.task_dict.items()},
        "outlets": {name: [a.uri for a in task.outlets] for name, task in dag.task_dict.items()},
        "inlets": {name: [a.uri for a in task.inlets] for name, task in dag.task_dict.items()},
        "teardowns": {
            name: task.on_failure_fail_dagrun
            for name, task in dag.task_dict.items()
            if task.is_teardown
        },
        "rules": {name: task.trigger_rule for name, task in dag.task_dict.items()},
        "mapped": [name for name, task in dag.task_dict.items() if task.is_mapped],
        "schedule": schedule_of(dag),
        "limits": [
            dag.deadline and dag.deadline[0].interval.total_seconds() / 3600,
            dag.task_dict["train"].execution_timeout and
            dag.task_dict["train"].execution_timeout.total_seconds() / 3600,
        ] if "train" in dag.task_dict else [],
        "params": {name: dag.params[name] for name in dag.params},
    }
print(json.dumps(answer))
"""


def read_dags(
    folder: Path, tmp_path: Path, dag: str = "retrain", **environment: str
) -> dict[str, Any]:
    """Errors and seconds of reading the folder, and what one of its DAGs consists of."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LUNGSEG", "AIRFLOW"))}
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_DAGS, str(folder), dag],
        cwd=tmp_path,
        env={
            **inherited,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def write_project(folder: Path, stages: dict[str, Any], **gate: Any) -> None:
    """A project of these stages, with these parameters of its gate."""
    for name, content in (("dvc.yaml", {"stages": stages}), ("params.yaml", {"gate": gate})):
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
