"""What starts tasks: Airflow and its parts, the pools, the broker, and workers for each queue."""

from __future__ import annotations

from typing import Any

import httpx

from pipeline.deployment.databases import without_password
from pipeline.deployment.links import NotLookedAt, Site
from pipeline.errors import DeploymentError, RefusedError, ServiceError
from pipeline.library_errors import distrusts
from pipeline.services.airflow import pool_sizes

COMPONENTS = {
    "metadatabase": "its database",
    "scheduler": "`airflow scheduler`",
    "dag_processor": "`airflow dag-processor`",
    "triggerer": "`airflow triggerer`",
}
"""What must be healthy, and what to start when it is not."""
DAGS = ("retrain", "search")
REPLY_PATIENCE = 3.0
"""Seconds that workers get to answer."""


def look_at_airflow(site: Site) -> str:
    """Airflow lets this host in."""
    return f"{site.airflow.url} is Airflow {site.airflow.version()}"


def look_at_components(site: Site) -> str:
    """The scheduler, the DAG processor and the triggerer report."""
    health = site.airflow.health()
    bad = [
        f"{name} is {health.get(name) or 'not there'}, see {what}"
        for name, what in COMPONENTS.items()
        if health.get(name) != "healthy"
    ]
    if bad:
        raise DeploymentError("; ".join(bad))
    return "database, scheduler, DAG processor and triggerer are healthy"


def look_at_dags(site: Site) -> str:
    """Airflow has parsed each DAG, and would run it."""
    for dag in DAGS:
        try:
            site.airflow.await_dag(dag, patience=0)
        except ServiceError as error:  # Airflow answers: what it says of the DAG is no silence
            raise DeploymentError(str(error)) from None
    return f"{' and '.join(DAGS)} are parsed and switched on"


def look_at_pools(site: Site) -> str:
    """The pools that tasks name are there; a task whose pool is missing waits without a word."""
    found = site.airflow.pools()
    missing = [name for name in pool_sizes(1) if not found.get(name)]
    if missing:
        raise DeploymentError(
            f"no pool {' and no pool '.join(missing)}, for which tasks would wait for ever; "
            "`lungseg deploy init` makes them"
        )
    return ", ".join(f"{name} with {found[name]} slots" for name in pool_sizes(1))


def look_at_execution_api(site: Site) -> str:
    """A worker's tasks reach the API server to which they report."""
    url = site.settings.execution_api
    if url is None:
        raise NotLookedAt("AIRFLOW__CORE__EXECUTION_API_SERVER_URL is not set")
    address = f"{url.rstrip('/')}/health/ping"
    try:
        response = httpx.get(address, timeout=10)
    except httpx.HTTPError as error:
        if distrusts(error):
            raise RefusedError(
                f"{url}: its certificate is not trusted; name the authority that signed it by "
                "SSL_CERT_FILE"
            ) from None
        raise ServiceError(f"{url} does not answer ({error}); start `airflow api-server`") from None
    if not response.is_success:
        raise DeploymentError(
            f"{address}: {response.status_code}; AIRFLOW__CORE__EXECUTION_API_SERVER_URL is "
            "http(s)://HOST:PORT/execution/"
        )
    return f"{url} answers"


def look_at_broker(site: Site) -> str:
    """Celery's broker lets this host in."""
    url = _broker(site)
    with _celery(url).connection_for_read() as connection:
        _reach(connection)
    return f"{without_password(url)} answers"


def look_at_queues(site: Site) -> str:
    """A worker serves each queue that a task of the DAGs waits in."""
    url = _broker(site)
    wanted: dict[str, list[str]] = {}
    for dag in DAGS:
        for queue, tasks in site.airflow.queues(dag).items():
            wanted.setdefault(queue, []).extend(tasks)
    replies = _celery(url).control.inspect(timeout=REPLY_PATIENCE).active_queues() or {}
    served = {str(queue["name"]) for queues in replies.values() for queue in queues}
    unserved = [
        f"queue {queue!r} ({', '.join(sorted(set(tasks))[:3])})"
        for queue, tasks in sorted(wanted.items())
        if queue not in served
    ]
    if unserved:
        raise DeploymentError(
            f"no worker serves {' nor '.join(unserved)}, so these tasks would wait for ever; start "
            "`airflow celery worker --queues NAME` there"
        )
    return f"{', '.join(sorted(wanted))} are served by {', '.join(sorted(replies))}"


def _broker(site: Site) -> str:
    url = site.settings.broker_url
    if url is None:
        raise NotLookedAt(
            "AIRFLOW__CELERY__BROKER_URL is not set: without Celery tasks wait in no queue"
        )
    return url


def _celery(url: str) -> Any:
    try:
        import celery
    except ModuleNotFoundError:
        raise NotLookedAt("Celery is not installed on this host") from None
    options = {"socket_connect_timeout": 5, "socket_timeout": 10}
    return celery.Celery(broker=url, broker_transport_options=options, set_as_current=False)


def _reach(connection: Any) -> None:
    name = without_password(connection.as_uri())
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)
    except Exception as error:  # of whichever library speaks to this kind of broker
        said = f"broker {name}: {' '.join(str(error).split())}"
        if distrusts(error):
            raise RefusedError(f"{said}; name the authority that signed it") from None
        refusals = ("auth", "password", "access refused", "NOPERM", "WRONGPASS")
        if any(word.lower() in said.lower() for word in refusals):
            raise RefusedError(f"{said}; mend AIRFLOW__CELERY__BROKER_URL") from None
        raise ServiceError(f"{said}; start it, or mend AIRFLOW__CELERY__BROKER_URL") from None
