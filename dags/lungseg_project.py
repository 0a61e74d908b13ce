"""Which project the DAGs show, and which commit of which repository a run works on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import get_bundle_storage_root_path
from airflow.sdk.exceptions import AirflowFailException

HERE = Path(__file__).resolve().parents[1]
BUNDLED = HERE.is_relative_to(get_bundle_storage_root_path().resolve())
"""Whether Airflow fetched this folder itself, as a bundle of DAGs."""
DEPLOYED = str(HERE) if (HERE / ".git").exists() and not BUNDLED else ""
REPO = os.environ.get("LUNGSEG_REPO") or DEPLOYED
"""Folder or git URL of the repository whose revisions are run; empty when nobody named one.

It must have the commits of the DAGs' bundle, for runs are pinned to these.
"""
REPO_FOLDER = Path(REPO) if REPO and Path(REPO).is_dir() else None
PROJECT = HERE if BUNDLED or REPO_FOLDER is None else REPO_FOLDER
"""Where the stages and parameters are read that the DAGs show."""
COMMIT = re.compile(r"[0-9a-f]{40}")


def child_folder() -> Path:
    """The folder that the child of a task starts in.

    Raises AirflowFailException where the child would not know what to run, or would write into a
    folder that Airflow removes.
    """
    if not REPO:
        raise AirflowFailException(
            f"{HERE}: no git repository of the project; set LUNGSEG_REPO to the folder or URL of "
            "the one whose revisions are run"
        )
    if REPO_FOLDER:
        return REPO_FOLDER
    if not os.environ.get("LUNGSEG_HOME"):
        raise AirflowFailException(
            "LUNGSEG_HOME: not set, and LUNGSEG_REPO is no folder of this host; set it to a folder "
            "of this host for workspaces and checkpoints"
        )
    return HERE


def head_of_run(context: Any) -> str:
    """The revision that `HEAD` means in this run.

    Of a backfill it is the newest one of the run's date; else the commit whose data started the
    run; else the one that Airflow pinned the DAG's bundle to; else the newest one. Airflow keeps
    them with the run, so a task that is tried again or cleared has the same.
    """
    run = context["dag_run"]
    if run.run_type == "backfill" and run.logical_date:
        return f"HEAD@{{{run.logical_date.isoformat()}}}"
    for event in sorted(run.consumed_asset_events, key=lambda one: one.timestamp, reverse=True):
        payload = (event.extra or {}).get("payload")
        if isinstance(payload, dict) and COMMIT.fullmatch(str(payload.get("commit"))):
            return str(payload["commit"])
    version = context["ti"].bundle_instance.version
    return version if version and COMMIT.fullmatch(version) else "HEAD"
