"""What a run costs: the seconds of its tasks, added up over their tries, and seconds of GPUs.

A try that ends is counted, also one that failed; one that was killed with this process is not.
"""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

from filelock import FileLock

from pipeline.errors import LungsegError
from pipeline.files import read_json, write_json
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.live import GPUS
from pipeline.tracking.run_record import RunRecord, open_record
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

KEPT = Path(".git", "lungseg-seconds.json")
"""In the workspace: the seconds of tasks that the run record does not have yet."""
GPU_SECONDS = "cost/gpu_seconds"
TRAINING = "train"
"""The stage that holds a GPU."""
RAN_ON_TAG = "lungseg.host."
"""Of the run record, with the name of a task: the hosts that it ran on."""


def keep_seconds(workspace: Workspace, name: str, seconds: float) -> None:
    """Keep the seconds of a try of a task until the run record has them."""
    path = workspace.folder / KEPT
    with FileLock(f"{path}.lock"):
        kept = read_json(path) if path.exists() else {}
        write_json(path, {**kept, name: kept.get(name, 0.0) + seconds})


def record_costs(settings: Settings, run_id: str, workspace: Workspace) -> None:
    """Add what is kept to the run record; where MLflow does not take it, it stays for the next.

    Starting MLflow's client takes seconds: call it only where that has been done anyway.
    """
    path = workspace.folder / KEPT
    try:
        with FileLock(f"{path}.lock"), connect(settings) as client:
            if path.exists():
                add_costs(open_record(settings, client, run_id), read_json(path))
                path.unlink()
    except LungsegError as error:
        log.warning("what the run costs could not be recorded: %s", error)


def add_costs(record: RunRecord, seconds: dict[str, float]) -> None:
    """Add the seconds of tasks, which this host did, to the metrics and tags of the run."""
    from mlflow.entities import Metric, RunTag

    data = record.client.get_run(record.run_id).data
    totals = {metric_name(task): seconds[task] for task in seconds}
    totals = {name: data.metrics.get(name, 0.0) + totals[name] for name in totals}
    trained = {**data.metrics, **totals}.get(metric_name(TRAINING), 0.0)
    totals[GPU_SECONDS] = trained * data.metrics.get(GPUS, 0.0)
    hosts = {f"{RAN_ON_TAG}{task}": data.tags.get(f"{RAN_ON_TAG}{task}", "") for task in seconds}
    here = socket.gethostname()
    joined = {tag: {*hosts[tag].split(), here} for tag in hosts}
    now = int(time.time() * 1000)
    record.client.log_batch(
        record.run_id,
        metrics=[Metric(name, value, now, 0) for name, value in totals.items()],
        tags=[RunTag(tag, " ".join(sorted(names))) for tag, names in joined.items()],
    )


def metric_name(task: str) -> str:
    """The metric of the seconds of a task."""
    return f"cost/{task}.seconds"
