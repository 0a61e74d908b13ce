"""A retraining on several hosts that loses no result when a host or a service is killed.

`make test-cluster` shows what happens as it happens. Every host has an address, processes and a
disk of its own; all that they share goes through git, the S3 storage, Redis and the servers.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.cluster import Cluster, postgres_bin, running_cluster
from tests.cluster.hosts import await_, can_make_hosts
from tests.conftest import PROJECT
from tests.projects import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

EPOCHS = 8
CORES = 4
"""With fewer, the tests beside these would take half as long again."""
ASKED = "LUNGSEG_TEST_CLUSTER"
"""Variable by which `make test-cluster` asks for these tests on any machine."""
OUTAGE_S = 60
CHANGES = [f"--set={key}={value}" for key, value in {**QUICK, "train.epochs": EPOCHS}.items()]
STARTED = time.monotonic()


def say(text: str) -> None:
    """A line of the test's log, with the seconds since its beginning."""
    sys.stderr.write(f"{time.monotonic() - STARTED:6.1f} s  {text}\n")


class Retraining:
    """`lungseg retrain`, followed while things happen."""

    def __init__(self, cluster: Cluster, *flags: str) -> None:
        self.cluster, self.began = cluster, time.monotonic()
        self.lines: list[str] = []
        self.command = cluster.lungseg("retrain", *CHANGES, *flags)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.command.stdout or ():
            self.lines.append(line.rstrip())
            say(f"    {line.rstrip()}")

    @property
    def id(self) -> str:
        """The id of the DAG run."""
        await_("the run's id", lambda: self.lines or self.command.poll() is not None, 120)
        return self.lines[0].removeprefix("run ")

    def reaches(self, *states: str) -> None:
        """Wait until it has said one of these, such as `train: running`."""
        say(f"waiting for {' or '.join(states)}")

        def said() -> bool:
            assert self.command.poll() is None or any(map(self.has, states)), self.text
            return any(map(self.has, states))

        await_(str(states), said, 600)

    def has(self, state: str) -> bool:
        return any(line.startswith(state) for line in self.lines)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        """Follow it no more."""
        self.command.kill()
        self.command.wait()
        self.reader.join()
        if self.command.stdout:
            self.command.stdout.close()

    def end(self, seconds: float = 900) -> str:
        """Wait for the end; all that was said."""
        self.command.wait(timeout=seconds)
        self.reader.join(10)
        say(f"ended with {self.command.returncode} after {time.monotonic() - self.began:.0f} s")
        assert self.command.returncode == 0, self.text
        return self.text

    def tries(self) -> list[dict[str, Any]]:
        """Every try of every task: task_id, hostname, state, start_date, end_date."""
        path = f"dags/retrain/dagRuns/{self.id}/taskInstances"
        with self.cluster.airflow() as airflow:
            names = [task.name for task in airflow.tasks("retrain", self.id).values()]
            found = [airflow._json("GET", f"{path}/{name}/tries") for name in names]
        return [one for tries in found for one in tries["task_instances"]]

    def metrics(self) -> dict[str, float]:
        """What was measured on the test split, by name."""
        login = ("admin", (self.cluster.net.secrets / "mlflow_password").read_text())
        name = {"Host": "mlflow:5000"}  # the server answers to no other
        with httpx.Client(trust_env=False, auth=login, headers=name) as client:
            api = self.cluster.mlflow("api/2.0/mlflow")
            query = {"experiment_name": "lung-segmentation"}
            found = client.get(f"{api}/experiments/get-by-name", params=query).json()
            wanted = f"tags.`lungseg.run_id` = '{self.id}'"
            ids = [found["experiment"]["experiment_id"]]
            body = {"experiment_ids": ids, "filter": wanted}
            [run] = client.post(f"{api}/runs/search", json=body).json()["runs"]
        metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
        return {key: value for key, value in metrics.items() if key.startswith("test/")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = can_make_hosts()
    if reason:
        pytest.skip(f"no hosts here: {reason}")
    if postgres_bin() is None:
        pytest.skip("no hosts here: PostgreSQL is not installed")
    cores = len(os.sched_getaffinity(0))
    if cores < CORES and ASKED not in os.environ:
        pytest.skip(f"beside other tests it takes {CORES} cores, here are {cores}: see {ASKED}")
    with running_cluster(tmp_path_factory.mktemp("cluster")) as made:
        say("the services are healthy")
        hosts = made.net.hosts
        made.boot_worker(hosts["cpu"], "worker-cpu")
        made.boot_worker(hosts["gpu1"], "worker-gpu")
        await_("the CPU worker", lambda: made.ready(hosts["cpu"], "worker-cpu"), 120)
        await_("the GPU worker", lambda: made.ready(hosts["gpu1"], "worker-gpu"), 120)
        say("the workers are ready")
        try:
            yield made
        finally:
            keep_logs(made, tmp_path_factory.getbasetemp() / "cluster-logs")


def keep_logs(cluster: Cluster, folder: Path) -> None:
    """Keep what services and tasks said, for whoever looks for the reason of a failure."""
    subprocess.run(["cp", "-r", cluster.net.folder / "logs", folder], check=False)
    for host in cluster.net.hosts.values():
        if (host.own / "logs").exists():
            subprocess.run(["cp", "-r", host.own / "logs", folder / host.name], check=False)
    say(f"logs: {folder}")


@pytest.fixture(scope="module")
def disturbed(cluster: Cluster) -> Iterator[Retraining]:
    """A retraining from nothing, during which one after the other dies."""
    with closing(Retraining(cluster)) as run:
        disturb(cluster, run)
        run.end()
        yield run


def disturb(cluster: Cluster, run: Retraining) -> None:
    """Kill one after the other, each in the middle of something."""
    control, hosts = cluster.control, cluster.net.hosts
    run.reaches("validate: running")
    outage(cluster, "airflow-scheduler", 3, lambda: cluster.start(control, "airflow-scheduler"))
    run.reaches("split: running", "split: ran", "augment: running")
    outage(cluster, "redis", 3, cluster.start_redis)
    run.reaches("train: running")
    await_("a checkpoint in the store", lambda: epochs_stored(cluster) >= 2, 400)
    hosts["gpu1"].kill()
    say(f"killed the host gpu1 in its training, with {epochs_stored(cluster)} epochs in the store")
    cluster.boot_worker(hosts["gpu2"], "worker-gpu")
    run.reaches("evaluate: running")
    before = len(cluster.stored("dvc/files"))
    await_("a push", lambda: len(cluster.stored("dvc/files")) > before, 400)
    outage(cluster, "storage", OUTAGE_S, cluster.start_storage)
    run.reaches("report: running")
    outage(cluster, "mlflow", 10, lambda: cluster.start(control, "mlflow"))


def outage(cluster: Cluster, service: str, seconds: float, start_again: Callable[[], None]) -> None:
    """kill -9 of a service, which then is away for some seconds."""
    cluster.control.kill_service(service)
    say(f"killed {service}")
    time.sleep(seconds)
    start_again()
    say(f"started {service} again")


def epochs_stored(cluster: Cluster) -> int:
    """The last epoch of which the store has a whole checkpoint; 0 without one."""
    sums = [path for path in cluster.stored("dvc/checkpoints") if path.name == "SHA256SUMS"]
    return max((int(path.parent.name.split("-")[1]) for path in sums), default=0)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_retraining_that_loses_every_service_once_ends_with_a_release(
    cluster: Cluster, disturbed: Retraining
) -> None:
    tries = disturbed.tries()
    for one in tries:
        say(f"  {one['task_id']} try {one['try_number']} on {one['hostname']}: {one['state']}")

    assert "released: version 1" in disturbed.text
    assert {one["hostname"] for one in tries} >= {"cpu", "gpu1", "gpu2"}
    assert cluster.stored("dvc/checkpoints") == []
    assert cluster.stored("dvc/runs")
    assert cluster.stored("mlflow")


def test_a_killed_training_resumes_on_the_other_host(
    cluster: Cluster, disturbed: Retraining
) -> None:
    tries = [one for one in disturbed.tries() if one["task_id"] == "train"]
    logs = (cluster.net.hosts["gpu2"].own / "logs").rglob("attempt=*.log")
    text = "\n".join(path.read_text() for path in logs)
    first, *_, last = sorted(tries, key=lambda one: one["start_date"])
    waited = seconds(last["start_date"]) - seconds(first["end_date"])
    say(f"the training was tried again {waited:.0f} s after it was found to be lost")

    assert (first["hostname"], last["hostname"], last["state"]) == ("gpu1", "gpu2", "success")
    assert f"of {EPOCHS} (" in text
    assert int(text.split("resuming after epoch ")[1].split()[0]) >= 2


def test_nothing_runs_twice_at_the_same_time(disturbed: Retraining) -> None:
    tries = disturbed.tries()
    assert len(tries) >= 12  # nine tasks, three of which were killed or met a silent service
    for name in {one["task_id"] for one in tries}:
        mine = sorted(
            (seconds(one["start_date"]), seconds(one["end_date"]))
            for one in tries
            if one["task_id"] == name and one["start_date"]
        )
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(mine))


@pytest.mark.cluster
def test_an_undisturbed_retraining_finds_the_same_and_nothing_is_released_twice(
    cluster: Cluster, disturbed: Retraining
) -> None:
    with closing(Retraining(cluster, "--force")) as run:
        run.end()
    command = ["sh", PROJECT / "docker/entrypoint.sh", "lungseg", "releases"]
    shown = cluster.control.run(command, cluster.client())
    with cluster.airflow() as airflow:
        events = airflow.asset_events()

    assert "unchanged" in run.text
    assert run.metrics() == disturbed.metrics()
    assert len(run.metrics()) > 10
    assert shown.count("promote") == 1
    assert len([one for one in events if "record" in (one.get("extra") or {})]) == 1


@pytest.mark.cluster
def test_empty_hosts_take_everything_from_the_store(
    cluster: Cluster, disturbed: Retraining
) -> None:
    hosts = cluster.net.hosts
    for name, service in (("cpu", "worker-cpu"), ("gpu2", "worker-gpu")):
        hosts[name].kill()
        (cluster.net.folder / "logs" / f"{name}-{service}.log").unlink()
        cluster.boot_worker(hosts[name], service, empty=True)
    await_("the CPU worker", lambda: cluster.ready(hosts["cpu"], "worker-cpu"), 120)
    await_("the GPU worker", lambda: cluster.ready(hosts["gpu2"], "worker-gpu"), 120)
    say("the hosts are empty, and ready")

    with closing(Retraining(cluster)) as run:
        run.end()

    assert "unchanged" in run.text
    assert all(run.has(f"{name}: cached") for name in ("validate", "augment", "train", "report"))
