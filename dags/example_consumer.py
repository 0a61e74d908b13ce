"""An example of what follows a release: verify it, and say which one it is.

The DAG runs for each event of the asset `lung-segmentation`, which a release emits. It is paused at
first: switch it on, or copy it and do here what a release means to you, a deployment say.
"""

from __future__ import annotations

import logging
import subprocess
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException
from lungseg_operator import program
from lungseg_project import child_folder
from lungseg_schedule import MODEL

log = logging.getLogger(__name__)


@task
def verify(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """Compare the registry and its files with the signed log of releases; the new releases."""
    releases = [event.extra for event in triggering_asset_events[MODEL]]
    for release in releases:
        scores = [f"{name} {value:.4f}" for name, value in sorted(release["metrics"].items())]
        log.info("released: version %s, %s", release["version"], ", ".join(scores))
    done = subprocess.run(
        [program(), "releases", "verify"], cwd=child_folder(), capture_output=True, text=True
    )
    log.info("%s", done.stdout + done.stderr)
    if done.returncode:
        raise AirflowFailException("the registry differs from the signed log: see the lines above")
    return releases


with DAG(
    "verify_release",
    schedule=[MODEL],
    is_paused_upon_creation=True,
    max_active_runs=1,
    tags=["lungs", "example"],
    description="Verify each release against the signed log",
    doc_md=__doc__,
) as dag:
    verify()
