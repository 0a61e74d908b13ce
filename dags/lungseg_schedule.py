"""When the DAG `retrain` runs: by the clock, and for new data where a git remote has them.

And the asset by which other DAGs run for each release of its model.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable
from airflow.sdk.definitions.asset import Dataset, Model
from lungseg_project import REPO, REPO_FOLDER

SCHEDULE = os.environ.get("LUNGSEG_SCHEDULE", "@weekly").strip()
SECONDS = float(os.environ.get("LUNGSEG_WATCH_SECONDS") or 60)
MISSED = timedelta(seconds=0.5)
"""So late a run of the clock is still made where there was none before. By itself Airflow makes it
for a tenth of the interval: that of a week until Sunday afternoon, beside the run that somebody has
just asked for. Airflow keeps a number of seconds, and takes a whole one for another setting."""
MODEL = Model(name="lung-segmentation", uri="mlflow://models/lung-segmentation")
BRANCH = os.environ.get("LUNGSEG_WATCH_BRANCH", "")


def schedule() -> Any:
    """The schedule of the DAG.

    The data are watched where LUNGSEG_REPO is a git URL. In a folder, whoever commits new data is
    there to start the run.
    """
    clock = None
    if SCHEDULE not in ("", "none"):
        clock = CronTriggerTimetable(SCHEDULE, timezone="UTC", run_immediately=MISSED)
    if not REPO or REPO_FOLDER or SECONDS <= 0:
        return clock
    data = watched_data()
    return [data] if clock is None else AssetOrTimeSchedule(timetable=clock, assets=[data])


def watched_data() -> Any:
    """The dataset as an asset, with the trigger that emits an event for each new version of it."""
    # Part of the installed package, because Airflow's triggerer does not see this folder.
    from pipeline.watching.data_version import DataVersionTrigger

    watcher = AssetWatcher(
        name="data.dvc", trigger=DataVersionTrigger(repo=REPO, seconds=SECONDS, branch=BRANCH)
    )
    return Dataset(name="radiographs", uri="dvc://radiographs", watchers=[watcher])
