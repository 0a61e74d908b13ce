"""DAGs as Airflow reads them, in a process of their own."""

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
import json, os, sys, time, traceback
from pathlib import Path
import airflow.sdk, airflow.sdk.definitions.asset, yaml
from airflow.dag_processing.dagbag import BundleDagBag
heavy = ("tensorflow", "keras", "mlflow", "pipeline", "great_expectations", "cv2", "optuna")
def schedule_of(dag):
    if dag.schedule is None or isinstance(dag.schedule, str):
        return dag.schedule
    if hasattr(dag.timetable, "run_immediately"):
        return dag.timetable.expression, dag.timetable.run_immediately.total_seconds()
    clock = getattr(dag.timetable, "timetable", None)
    assets = dag.timetable.asset_condition.objects
    return {
        "clock": clock and clock.expression,
        "watched": {asset.name: asset.watchers[0].trigger.serialize() for asset in assets},
    }


def answer(folder, name):
    began = time.perf_counter()
    bag = BundleDagBag(folder, bundle_path=Path(folder), bundle_name="dags")
    seconds = time.perf_counter() - began
    dag = bag.dags.get(name)
    found = {
        "errors": bag.import_errors,
        "seconds": seconds,
        "files": sorted(Path(one.file).name for one in bag.dagbag_stats),
        "heavy": [name for name in heavy if name in sys.modules],
        "project": [name for name in sys.modules if name.partition(".")[0] == "pipeline"],
    }
    if dag:
        found |= {
            "edges": {name: sorted(task.upstream_task_ids) for name, task in dag.task_dict.items()},
            "pools": {name: [task.pool, task.queue] for name, task in dag.task_dict.items()},
            "outlets": {name: [a.uri for a in one.outlets] for name, one in dag.task_dict.items()},
            "inlets": {name: [a.uri for a in one.inlets] for name, one in dag.task_dict.items()},
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
    return found


# Importing Airflow takes longer than all else: each question is answered by a fork.
for line in sys.stdin:
    folder, name, place, environment = json.loads(line)
    if os.fork() == 0:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(place)
        try:
            said = answer(folder, name)
        except BaseException:
            said = {"crash": traceback.format_exc()}
        os.write(1, (json.dumps(said) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


class Reader:
    """Airflow, imported once, which is asked what it reads."""

    def __init__(self, home: Path) -> None:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("LUNGSEG", "AIRFLOW"))
        }
        settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        self.environment = inherited | settings
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", READ_DAGS],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, folder: Path, tmp_path: Path, dag: str = "retrain", **environment: str
    ) -> dict[str, Any]:
        """Errors and seconds of reading the folder, and what one of its DAGs consists of."""
        assert self.process.stdin
        assert self.process.stdout
        question = [str(folder), dag, str(tmp_path), self.environment | environment]
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = {}
        while not answer:  # Airflow may say something of its own
            line = self.process.stdout.readline()
            assert line, "the process has ended"
            answer = json.loads(line) if line.startswith("{") else {}
        assert "crash" not in answer, answer["crash"]
        return answer

    def close(self) -> None:
        self.process.communicate()


def write_project(folder: Path, stages: dict[str, Any], parts: int = 1, **gate: Any) -> None:
    """A project of these stages, done in so many parts, with these parameters of its gate."""
    params = {"stages": {"parts": parts}, "gate": gate}
    for name, content in (("dvc.yaml", {"stages": stages}), ("params.yaml", params)):
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
