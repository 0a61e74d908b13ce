#!/usr/bin/env python3
"""Say by the exit code whether a service is healthy; needs the standard library alone.

healthcheck.py answers URL…            each URL answers a GET with success
healthcheck.py beats SERVER COMPONENT  the Airflow at SERVER knows a recent heartbeat of it
healthcheck.py worker                  the Celery worker of this host answers through the broker
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request

HEALTH_PAGE = "/api/v2/monitor/health"


def main(kind: str, *rest: str) -> int:
    """0 if healthy, 1 with a line that says what is wrong."""
    try:
        problem = {"answers": answers, "beats": beats, "worker": worker}[kind](*rest)
    except (OSError, ValueError) as error:
        problem = str(error)
    if problem:
        sys.stderr.write(f"{kind} {' '.join(rest)}: {problem}\n")
    return 1 if problem else 0


def answers(*urls: str) -> str:
    """Empty when all answer with success."""
    for url in urls:
        get(url)
    return ""


def beats(server: str, component: str) -> str:
    """Empty when the health page of Airflow calls the component healthy."""
    status = json.loads(get(f"{server}{HEALTH_PAGE}")).get(component, {}).get("status")
    return "" if status == "healthy" else f"Airflow calls it {status}"


def worker() -> str:
    """Empty when the worker answers. Celery's own command is asked: Airflow's takes seconds."""
    name = f"celery@{socket.gethostname()}"
    command = ["celery", "inspect", "ping", "--timeout", "10", "--destination", name]
    variables = {**os.environ, "CELERY_BROKER_URL": broker_url()}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{name} does not answer"


def broker_url() -> str:
    """Where the broker is, as Airflow's environment says it: the value, or a command for it."""
    command = os.environ.get("AIRFLOW__CELERY__BROKER_URL_CMD")
    if command is None:
        return os.environ["AIRFLOW__CELERY__BROKER_URL"]
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def get(url: str) -> str:
    """The answer; raises OSError for none, and for one that is no success."""
    with urllib.request.urlopen(url, timeout=8) as answer:  # noqa: S310 (from the compose file)
        return str(answer.read().decode())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
