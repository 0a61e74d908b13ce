"""What several hosts cost: a retraining with pushes, from empty hosts, and with nothing to do.

    sudo .venv/bin/python benchmarks/cluster.py

It starts the stack of docker/compose.yaml on namespaces of this machine, as `make test-cluster`
does, and prints a table: for every task its seconds when it ran and how many of them its push took,
its seconds from the store on empty hosts, and its seconds when nothing has changed.
"""

from __future__ import annotations

import platform
import re
import tempfile
import time
from pathlib import Path

from pipeline.services.airflow import TaskState
from tests.cluster.cluster import Cluster, running_cluster
from tests.cluster.hosts import await_
from tests.projects import QUICK

WORKERS = {"cpu": "worker-cpu", "gpu1": "worker-gpu"}
PUSHED = re.compile(r"pushed .* in ([\d.]+) s")


def boot(cluster: Cluster, *, empty: bool) -> None:
    """Boot the hosts of the workers and wait until they take tasks."""
    for name, service in WORKERS.items():
        host = cluster.net.hosts[name]
        host.kill()
        (cluster.net.folder / "logs" / f"{name}-{service}.log").unlink(missing_ok=True)
        cluster.boot_worker(host, service, empty=empty)
    for name, service in WORKERS.items():
        host = cluster.net.hosts[name]
        await_(service, lambda host=host, service=service: cluster.ready(host, service), 240)


def retrain(cluster: Cluster) -> tuple[float, dict[str, TaskState], dict[str, float]]:
    """Seconds of `lungseg retrain`, its tasks, and the seconds of their pushes."""
    began = time.monotonic()
    changes = [f"--set={key}={value}" for key, value in QUICK.items()]
    command = cluster.lungseg("retrain", *changes)
    said, _ = command.communicate()
    if command.returncode:
        raise SystemExit(said)
    run = said.splitlines()[0].removeprefix("run ")
    with cluster.airflow() as airflow:
        tasks = airflow.tasks("retrain", run)
        logs = {name: "\n".join(airflow.log("retrain", run, task)) for name, task in tasks.items()}
    found = {name: PUSHED.search(text) for name, text in logs.items()}
    pushes = {name: float(match[1]) for name, match in found.items() if match}
    return time.monotonic() - began, tasks, pushes


def main() -> None:
    """Run and print."""
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
        running_cluster(Path(folder)) as cluster,
    ):
        boot(cluster, empty=True)
        ran, tasks, pushes = retrain(cluster)
        boot(cluster, empty=True)
        fetched, from_store, _ = retrain(cluster)
        again, cached, _ = retrain(cluster)
    print(f"{platform.processor() or platform.machine()}, {platform.system()}")
    print(f"{'task':10}{'ran s':>9}{'push s':>9}{'empty host s':>15}{'cached s':>11}")
    for name in tasks:
        row = [tasks[name].seconds, pushes.get(name), from_store[name].seconds]
        cells = [f"{value:.1f}" if value else "" for value in (*row, cached[name].seconds)]
        print(f"{name:10}{cells[0]:>9}{cells[1]:>9}{cells[2]:>15}{cells[3]:>11}")
    print(f"{'whole':10}{ran:9.1f}{'':9}{fetched:15.1f}{again:11.1f}")


if __name__ == "__main__":
    main()
