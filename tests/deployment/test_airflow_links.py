from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.deployment import airflow_links
from pipeline.deployment.airflow_links import (
    look_at_airflow,
    look_at_broker,
    look_at_components,
    look_at_dags,
    look_at_execution_api,
    look_at_pools,
    look_at_queues,
)
from pipeline.deployment.links import NotLookedAt, Site
from pipeline.errors import DeploymentError, RefusedError, ServiceError
from pipeline.services.airflow import Airflow, log_in
from pipeline.settings import Settings
from tests.conftest import free_port
from tests.servers import http_server, make_certificate
from tests.services.test_airflow import KNOWN, Routes, serve

BEATS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
TASKS = [{"task_id": "split", "queue": "default"}, {"task_id": "train", "queue": "gpu"}]
ROUTES: Routes = {
    "GET version": {"version": "3.3.0"},
    "GET monitor/health": {name: {"status": "healthy"} for name in BEATS},
    "GET dags/retrain": KNOWN,
    "GET dags/search": KNOWN,
    "GET pools": {"pools": [{"name": "gpu", "slots": 2}, {"name": "release", "slots": 1}]},
    "GET dags/retrain/tasks": {"tasks": TASKS},
    "GET dags/search/tasks": {"tasks": TASKS},
    "GET importErrors": {"import_errors": []},
}


@pytest.fixture
def site(settings: Settings) -> Site:
    return Site(settings)


def answering(site: Site, **changed: object) -> Airflow:
    """Let the site's Airflow answer as one does where all is well, but for what is changed."""
    routes = {f"GET {path.replace('__', '/')}": answer for path, answer in changed.items()}
    site.__dict__["airflow"] = serve(ROUTES | routes)
    return site.airflow


def test_airflow_where_all_is_well(site: Site) -> None:
    answering(site)

    assert look_at_airflow(site).endswith("is Airflow 3.3.0")
    assert "are healthy" in look_at_components(site)
    assert "retrain and search are parsed" in look_at_dags(site)
    assert look_at_pools(site) == "gpu with 2 slots, release with 1 slots"


def test_part_that_does_not_report_is_named(site: Site) -> None:
    healthy = {name: {"status": "healthy"} for name in BEATS}
    answering(site, monitor__health=healthy | {"triggerer": {"status": None}})

    with pytest.raises(DeploymentError, match=r"^triggerer is not there, see `airflow triggerer`$"):
        look_at_components(site)


def test_dag_that_cannot_be_read_is_a_problem(site: Site) -> None:
    error = {"filename": "search.py", "stack_trace": "Traceback\nKeyError: 'stages'"}
    answering(site, dags__search=404, importErrors={"import_errors": [error]})

    with pytest.raises(DeploymentError, match=r"KeyError: 'stages'"):
        look_at_dags(site)


@pytest.mark.parametrize("pools", [[], [{"name": "gpu", "slots": 0}]])
def test_pool_that_is_missing_or_empty_is_named(site: Site, pools: list[dict[str, object]]) -> None:
    answering(site, pools={"pools": [*pools, {"name": "release", "slots": 1}]})

    with pytest.raises(DeploymentError, match=r"^no pool gpu, .*`lungseg deploy init` makes them"):
        look_at_pools(site)


def test_execution_api_is_asked_for_an_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    with pytest.raises(NotLookedAt):
        look_at_execution_api(site)

    monkeypatch.setenv(name, "http://127.0.0.1:9/execution/")
    with pytest.raises(ServiceError, match=r"127.0.0.1:9/execution/ does not answer"):
        look_at_execution_api(site)

    served = {"/execution/health/ping": (200, "{}")}
    with http_server(lambda _, path: served.get(path, (404, ""))) as url:
        monkeypatch.setenv(name, f"{url}/execution/")
        assert look_at_execution_api(site) == f"{url}/execution/ answers"
        monkeypatch.setenv(name, url)
        with pytest.raises(DeploymentError, match=r"404; .* is http\(s\)://HOST:PORT/execution/"):
            look_at_execution_api(site)

    with http_server(certificate=make_certificate(tmp_path)) as url:
        monkeypatch.setenv(name, f"{url}/execution/")
        with pytest.raises(RefusedError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            look_at_execution_api(site)


def test_airflow_whose_certificate_is_not_trusted_is_named_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUNGSEG_AIRFLOW_PASSWORD", "x")
    with http_server(certificate=make_certificate(tmp_path)) as url:
        monkeypatch.setenv("LUNGSEG_AIRFLOW_URL", url)

        with pytest.raises(RefusedError, match=r"certificate is not trusted.*SSL_CERT_FILE"):
            log_in(settings)


def test_without_celery_there_is_neither_broker_nor_queue(site: Site) -> None:
    for look in (look_at_broker, look_at_queues):
        with pytest.raises(NotLookedAt, match=r"BROKER_URL is not set"):
            look(site)


def test_broker_is_not_looked_at_where_celery_is_not_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setitem(sys.modules, "celery", None)

    with pytest.raises(NotLookedAt, match=r"Celery is not installed"):
        look_at_broker(site)


def test_broker_that_is_away_does_not_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", "redis://:hidden@127.0.0.1:9/0")

    with pytest.raises(ServiceError, match=r"broker redis://127.0.0.1:9/0: .*refused") as error:
        look_at_broker(site)

    assert error.value.exit_code == 75
    assert "hidden" not in str(error.value)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis with the password `right`; yields its URL without it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: no broker here")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "right"]
    with subprocess.Popen([*command, "--dir", str(folder), "--save", ""], stdout=-3) as server:
        try:
            yield f"127.0.0.1:{port}/0"
        finally:
            server.kill()


@pytest.mark.slow  # a broker and a worker
def test_wrong_password_of_the_broker_and_a_queue_that_nobody_serves_are_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(site)
    monkeypatch.setattr(airflow_links, "REPLY_PATIENCE", 1.0)
    with redis(tmp_path) as address:
        monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", f"redis://:wrong@{address}")
        _eventually(site, RefusedError, "mend AIRFLOW__CELERY__BROKER_URL")

        url = f"redis://:right@{address}"
        monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", url)
        assert look_at_broker(site) == f"redis://{address} answers"
        with pytest.raises(DeploymentError, match=r"queue 'default' .* nor queue 'gpu'"):
            look_at_queues(site)

        command = [sys.executable, "-m", "celery", "--broker", url, "worker", "--pool", "solo"]
        with subprocess.Popen(
            [*command, "--queues", "default", "--hostname", "cpu"], stdout=-3, stderr=-3
        ) as worker:
            try:
                deadline = time.monotonic() + 60
                while "'default'" in (said := _unserved(site)) and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert said.startswith("no worker serves queue 'gpu' (train), so these tasks")
            finally:
                worker.kill()


def _eventually(site: Site, kind: type[Exception], said: str) -> None:
    """The broker's fault, once the broker has started."""
    for _ in range(100):
        try:
            look_at_broker(site)
        except kind as error:
            if said in str(error):
                return
        except ServiceError:
            time.sleep(0.05)
    raise AssertionError(said)


def _unserved(site: Site) -> str:
    try:
        return look_at_queues(site)
    except DeploymentError as error:
        return str(error)
