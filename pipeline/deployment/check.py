"""Every link that a deployment needs, which roles need it, and the look at each."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.deployment.airflow_links import (
    look_at_airflow,
    look_at_broker,
    look_at_components,
    look_at_dags,
    look_at_execution_api,
    look_at_pools,
    look_at_queues,
)
from pipeline.deployment.host_links import (
    look_at_clock,
    look_at_disk,
    look_at_gpu,
    look_at_uv,
)
from pipeline.deployment.links import HostRole, Link, LinkState, Site, look_at
from pipeline.deployment.shared_links import (
    look_at_mlflow,
    look_at_repository,
    look_at_store,
    look_at_versions,
)
from pipeline.settings import Settings

STAGES: frozenset[HostRole] = frozenset({"worker", "gpu"})
PEOPLE: frozenset[HostRole] = frozenset({"control", "client"})
EVERYBODY: frozenset[HostRole] = STAGES | PEOPLE

LINKS = (
    Link("git", STAGES | {"control"}, look_at_repository),
    Link("store", STAGES, look_at_store, needs=("git",)),
    Link("MLflow", STAGES | {"client"}, look_at_mlflow),
    Link("broker", STAGES | {"control"}, look_at_broker),
    Link("execution API", STAGES, look_at_execution_api),
    Link("Airflow", PEOPLE, look_at_airflow),
    Link("Airflow's parts", PEOPLE, look_at_components, needs=("Airflow",)),
    Link("DAGs", PEOPLE, look_at_dags, needs=("Airflow",)),
    Link("pools", PEOPLE, look_at_pools, needs=("Airflow",)),
    Link("queues", frozenset({"control"}), look_at_queues, needs=("broker", "DAGs")),
    Link("GPU", frozenset({"gpu"}), look_at_gpu),
    Link("clock", EVERYBODY, look_at_clock),
    Link("disk", EVERYBODY, look_at_disk),
    Link("versions", EVERYBODY, look_at_versions, needs=("MLflow",)),
    Link("environments", STAGES, look_at_uv),
)
"""In the order in which they are looked at."""


def check_deployment(settings: Settings, role: HostRole) -> Iterator[LinkState]:
    """Look at every link that the role needs; yields what came of each, as it comes."""
    with Site(settings, role) as site:
        yield from look_at(site, LINKS)
