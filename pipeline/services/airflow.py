"""Airflow through its REST API: trigger a run, read its state, its reports and its logs."""

from __future__ import annotations

import graphlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from pipeline.errors import ParamsError, RefusedError, ServiceError
from pipeline.git_command import without_login
from pipeline.library_errors import distrusts
from pipeline.services import airflow_home
from pipeline.settings import Settings

PAGE = 100
"""Tasks that Airflow lists at once, the most by default."""
PARSE_PATIENCE = 90
"""Seconds that Airflow gets to read a DAG it does not know yet."""


@dataclass(frozen=True)
class TaskState:
    """A task of a run: Airflow's state of it (None before it is scheduled), tries and seconds."""

    name: str
    state: str | None
    tries: int
    seconds: float | None
    index: int = -1
    """Which one of a mapped task; -1 for a task that there is once."""

    @property
    def label(self) -> str:
        """The name, with the index if there is one."""
        return self.name if self.index < 0 else f"{self.name} {self.index}"


def pool_sizes(gpus: int) -> dict[str, tuple[int, str]]:
    """The pools that the DAGs name: slots and description of each, where so many GPUs train."""
    return {
        "gpu": (gpus, "One slot per GPU; one where there is none"),
        "release": (1, "One promotion at a time"),
    }


def log_in(settings: Settings) -> Airflow:
    """The Airflow of the settings, logged in. Raises ServiceError."""
    return Airflow(settings.airflow_url, settings.airflow_user, airflow_home.password(settings))


class Airflow:
    """A logged-in client; every method raises ServiceError with one line when it cannot answer."""

    def __init__(
        self, url: str, user: str, password: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = without_login(url.rstrip("/"))
        loopback = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")  # needs no proxy
        self._client = httpx.Client(
            base_url=url, timeout=30, trust_env=not loopback, transport=transport
        )
        self._account = {"username": user, "password": password}
        try:
            self._log_in()
        except ServiceError:
            self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def _log_in(self) -> None:
        response = self._send("POST", "/auth/token", json=self._account)
        if response.status_code in (401, 403):
            raise RefusedError(
                f"Airflow at {self.url} refused to log in {self._account['username']!r} "
                f"({response.status_code}); set LUNGSEG_AIRFLOW_USER and LUNGSEG_AIRFLOW_PASSWORD"
            )
        if response.status_code != 201:
            raise ServiceError(
                f"Airflow at {self.url}: log-in: {response.status_code} {_detail(response)}"
            )
        self._client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            if distrusts(error):
                raise RefusedError(
                    f"Airflow at {self.url}: its certificate is not trusted; name the authority "
                    "that signed it by SSL_CERT_FILE"
                ) from None
            raise ServiceError(
                f"Airflow at {self.url} does not answer ({error}); start it with `lungseg up`, "
                f"or set LUNGSEG_AIRFLOW_URL"
            ) from None

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer, after a new log-in if the token of this one has run out."""
        response = self._send(method, f"/api/v2/{path}", **options)
        if response.status_code == 401:
            self._log_in()
            response = self._send(method, f"/api/v2/{path}", **options)
        return response

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return self._content(self._ask(method, path, **options))

    def _content(self, response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            request = f"{response.request.method} {response.request.url.path}"
            raise ServiceError(
                f"Airflow at {self.url}: {request}: {response.status_code} {_detail(response)}"
            )
        content: dict[str, Any] = response.json()
        return content

    def ensure_pool(self, name: str, slots: int, description: str) -> bool:
        """Make the pool unless there is one, which then keeps its slots; whether it was made."""
        missing = self._ask("GET", f"pools/{name}").status_code == 404
        if missing:
            body = {"name": name, "slots": slots, "description": description}
            self._json("POST", "pools", json=body)
        return missing

    def pools(self) -> dict[str, int]:
        """The slots of each pool."""
        rows = self._json("GET", "pools", params={"limit": PAGE})["pools"]
        return {str(row["name"]): int(row["slots"]) for row in rows}

    def version(self) -> str:
        """Airflow's version."""
        return str(self._json("GET", "version")["version"])

    def queues(self, dag: str) -> dict[str, list[str]]:
        """The queues of the DAG's tasks, each with the tasks that wait there."""
        found: dict[str, list[str]] = {}
        for row in self._json("GET", f"dags/{dag}/tasks")["tasks"]:
            found.setdefault(str(row["queue"]), []).append(str(row["task_id"]))
        return found

    def health(self) -> dict[str, str | None]:
        """The state of each component: `healthy`, `unhealthy` or None if there is none."""
        return {name: part["status"] for name, part in self._json("GET", "monitor/health").items()}

    def trigger(self, dag: str, conf: Mapping[str, Any], patience: float = PARSE_PATIENCE) -> str:
        """Start a run of the DAG and return its id, waiting for a DAG that is not parsed yet.

        Raises ParamsError for a value of `conf` that the DAG's form refuses.
        """
        self.await_dag(dag, patience)
        body = {"logical_date": None, "conf": dict(conf)}
        response = self._ask("POST", f"dags/{dag}/dagRuns", json=body)
        if response.status_code == 400:  # the form of the DAG refuses a value
            raise ParamsError(_detail(response).partition("\n")[0])
        return str(self._content(response)["dag_run_id"])

    def await_dag(self, dag: str, patience: float) -> None:
        """Return once Airflow knows the DAG and would run it; says why when it would not."""
        deadline = time.monotonic() + patience
        while True:
            response = self._ask("GET", f"dags/{dag}")
            known = response.json() if response.is_success else None
            if known is None or known["has_import_errors"] or known["is_stale"]:
                self._check_imports(dag)
            elif known["is_paused"]:
                raise ServiceError(f"DAG {dag} is paused; switch it on at {self.url}/dags/{dag}")
            else:
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Airflow at {self.url} has no DAG {dag} after {patience:.0f} s; "
                    f"see that its DAG processor runs (`lungseg status`) and reads dags/{dag}.py"
                )
            time.sleep(0.5)

    def _check_imports(self, dag: str) -> None:
        for problem in self._json("GET", "importErrors")["import_errors"]:
            if problem["filename"].rpartition("/")[2] == f"{dag}.py":
                line = problem["stack_trace"].strip().splitlines()[-1]
                raise ServiceError(
                    f"{problem['filename']}: not a DAG that Airflow can read: {line}"
                )

    def state(self, dag: str, run: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return str(self._json("GET", f"dags/{dag}/dagRuns/{quote(run)}")["state"])

    def order(self, dag: str) -> list[str]:
        """The names of the DAG's tasks, each after those it waits for."""
        rows = self._json("GET", f"dags/{dag}/tasks")["tasks"]
        before: dict[str, set[str]] = {row["task_id"]: set() for row in rows}
        for row in rows:
            for name in row["downstream_task_ids"]:
                before[name].add(row["task_id"])
        return list(graphlib.TopologicalSorter(before).static_order())

    def tasks(self, dag: str, run: str) -> dict[str, TaskState]:
        """The tasks of a run by label."""
        path = f"dags/{dag}/dagRuns/{quote(run)}/taskInstances"
        found: list[TaskState] = []
        total = 1
        while len(found) < total:
            page = self._json("GET", path, params={"limit": PAGE, "offset": len(found)})
            found += map(_task_state, page["task_instances"])
            total = page["total_entries"] if page["task_instances"] else 0
        return {task.label: task for task in found}

    def report(self, dag: str, run: str, task: TaskState) -> dict[str, Any] | None:
        """The report that the task left; None if it left none yet."""
        path = f"dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task.name}/xcomEntries/return_value"
        response = self._ask("GET", path, params={"map_index": task.index})
        value = None if response.status_code == 404 else self._content(response)["value"]
        return value if isinstance(value, dict) else None

    def log(self, dag: str, run: str, task: TaskState) -> list[str]:
        """The lines of the task's latest try."""
        path = f"dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task.name}/logs/{task.tries}"
        options = {
            "params": {"full_content": "true", "map_index": task.index},
            "headers": {"Accept": "application/json"},
        }
        content = self._json("GET", path, **options)["content"]
        return [line for entry in content for line in _lines(entry)]

    def asset_events(self) -> list[dict[str, Any]]:
        """Events of all assets, newest last."""
        events: list[dict[str, Any]] = self._json("GET", "assets/events")["asset_events"]
        return sorted(events, key=lambda event: str(event["timestamp"]))


def _task_state(row: Mapping[str, Any]) -> TaskState:
    seconds = row["duration"]
    if seconds is None and row["state"] == "running" and row["start_date"]:
        seconds = time.time() - datetime.fromisoformat(row["start_date"]).timestamp()
    return TaskState(row["task_id"], row["state"], row["try_number"], seconds, row["map_index"])


def _lines(entry: str | Mapping[str, Any]) -> list[str]:
    """A log entry, and the exceptions that it carries, as lines."""
    if isinstance(entry, str):
        return [entry]
    errors = entry.get("error_detail") or []
    return [entry["event"], *(f"{error['exc_type']}: {error['exc_value']}" for error in errors)]


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
