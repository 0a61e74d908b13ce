"""What people are told of a run, by the services of an Airflow connection; nothing without one.

A message holds nothing of a radiograph. What a task says of its failure may name a file, a patient
or a radiograph in words like any others, so only the kind of the failure is told; of what a check
of the gate found, what may be such a name is left out.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException

log = logging.getLogger(__name__)

CONNECTION = os.environ.get("LUNGSEG_NOTIFY") or "lungseg_notify"
PROBLEM = "problem"
"""Key of the XCom that says of what kind a task's failure was."""
NAMES = re.compile(
    r"""'[^']*'|"[^"]*"|`[^`]*`      # what is quoted
    |(?<!\S)(?!https?://)[^\s:;,()]*/[^:;,()]*   # a path, with the words after it
    |[^:;,()/]*\.(?:png|jpe?g|dcm|dicom|zip|xlsx|csv)\b[^\s:;,()]*   # a file, with those before
    |(?<!\S)(?!https?://)(?:          # and words, addresses of services excepted,
    (?!\(?\d{1,3}(?:\.\d+)?%?\)?[,;:.]?(?!\S))\S*\d\S*   # with a digit, unless a short number
    |\S*/\S*)                        # or of a path
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What may name a person or a radiograph."""
LOGIN = re.compile(r"//[^/\s]*@")
"""A user and a password in an address."""


def without_names(reason: str) -> str:
    """The reason in one line, without what may name a person or a radiograph, or lets one in."""
    line = LOGIN.sub("//", " ".join(reason.removeprefix("error: ").split()))
    return NAMES.sub("…", line)[:300]


def page(dag: str, run: str, rest: str = "") -> str:
    """Address of a run in Airflow's pages."""
    base = os.environ.get("LUNGSEG_AIRFLOW_URL") or conf.get("api", "base_url", fallback="")
    return f"{base.rstrip('/')}/dags/{dag}/runs/{quote(run)}{rest}"


def send(title: str, body: str, kind: str = "info") -> None:
    """Send a message; one that cannot be sent is a line in the log, and never an error.

    `kind` is info, success, warning or failure.
    """
    try:
        # Only a task that has something to say waits for this import.
        from airflow.providers.apprise.notifications.apprise import AppriseNotifier

        notifier = AppriseNotifier(
            title=f"lungseg: {title}", body=body, notify_type=kind, apprise_conn_id=CONNECTION
        )
        notifier.notify({})
    except AirflowNotFoundException:
        log.info("nobody is told that %s: there is no connection %s", title, CONNECTION)
    except Exception as error:  # a service, its settings: nothing here may fail a run
        log.warning("the message that %s could not be sent (%s)", title, type(error).__name__)


def tell_waiting(context: Any) -> None:
    """Tell that the run waits for a person's approval."""
    ti = context["ti"]
    address = page(ti.dag_id, ti.run_id, f"/tasks/{ti.task_id}/required_actions")
    send("a model waits for approval", f"run {ti.run_id}\n{address}", "warning")


def tell_end(context: Any, states: Mapping[str, str | None]) -> None:
    """Tell how the run ended, by the states of its tasks; nothing when nothing changed."""
    ti = context["ti"]
    try:
        told = outcome(ti, states)
    except Exception as error:  # a report of another version, say: nothing here may fail a run
        log.warning("nobody is told how the run ended (%s: %s)", type(error).__name__, error)
        return
    if told:
        title, lines, kind = told
        send(title, "\n".join([f"run {ti.run_id}", *lines, page(ti.dag_id, ti.run_id)]), kind)


def outcome(ti: Any, states: Mapping[str, str | None]) -> tuple[str, list[str], str] | None:
    """Title, lines and kind of the message about a run that has ended; None: there is none."""
    failed = sorted(name for name, state in states.items() if state == "failed")
    if failed:
        killed = "its process was killed, or never began"
        lines = [f"{name}: {problem(ti, name) or killed}" for name in failed]
        return "a run failed", lines, "failure"
    promoted = ti.xcom_pull("promote")
    if not promoted:
        return "a run was stopped before its verdict", [], "failure"
    status = promoted["status"]
    if status == "released":
        scores = promoted.get("metrics", {}).items()
        numbers = [f"{name} {value:.4f}" for name, value in sorted(scores)]
        line = ", ".join([f"version {promoted['version']}", *numbers])
        return "a model was released", [line], "success"
    if status == "refused":
        return "a model was refused", refusal(ti, promoted), "warning"
    if status == "needs approval":
        return "a model needs approval, and nobody was asked", [], "warning"
    return None


def problem(ti: Any, name: str) -> str | None:
    """The kind of a task's failure, by its name among the states of tasks; None: it did not say.

    The states name the mapped tasks of `x` as `x_0`, `x_1`; the XComs are kept by `x` and an index.
    """
    found: str | None = ti.xcom_pull(task_ids=name, key=PROBLEM)
    base, _, index = name.rpartition("_")
    if not found and base and index.isdigit():
        found = ti.xcom_pull(task_ids=base, key=PROBLEM, map_indexes=int(index))
    return found


def refusal(ti: Any, promoted: Mapping[str, Any]) -> list[str]:
    """Who or what refused: a person, or each check of the gate that failed."""
    if (ti.xcom_pull("approve") or {}).get("status") == "rejected":
        return ["a person rejected it; the run record says who and why"]
    checks = [one for one in (ti.xcom_pull("gate") or {}).get("checks", []) if not one["passed"]]
    lines = [f"{one['name']} {found(one['value'])}, required {one['bound']}" for one in checks]
    return lines or [without_names(promoted.get("reason", ""))]


def found(value: float | str | None) -> str:
    """The value of a check as a person reads it."""
    return f"{value:.4f}" if isinstance(value, float) else without_names(str(value))


def deadline_missed(hours: float, context: Any) -> None:
    """Tell that a run takes longer than it may; Airflow calls this with its context."""
    run = context["dag_run"]
    dag, name = run["dag_id"], run["dag_run_id"]
    body = f"run {name} has not ended after {hours:g} hours\n{page(dag, name)}"
    send("a run takes longer than it may", body, "warning")
