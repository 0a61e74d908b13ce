"""A running training as its MLflow run shows it: its epochs, and what the network sees."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.git_command import without_login
from pipeline.model.training_history import HISTORY, MEASURED
from pipeline.pictures.overlay import draw_overlay
from pipeline.settings import Settings
from pipeline.tracking.rest import PROGRESS_TAG

log = logging.getLogger(__name__)

METRICS = {
    **{name: name for name in HISTORY.columns if name != "epoch"},
    **{name: f"train_{name}" for name in MEASURED},
    "images_per_second": "images_per_second",
}
"""Column of a row of the history -> name of the metric in MLflow.

history.csv has all but the last: how fast a machine was is no part of a result.
"""

PROGRESS = "progress/"
"""Before the names of the metrics within epochs. Their steps are batches, not epochs; so they have
names, and with them a section of MLflow's pages, of their own."""
GPUS = "cost/gpus"
"""The metric of how many GPUs the training sees."""

EXAMPLE_SIDE = 384
"""Pixels of an overlay."""

TIMEOUT_S = 5
RETRIES = 1


def epoch_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """The MLflow metrics of a row of the history; log them at step `row["epoch"]`."""
    return {metric: float(row[column]) for column, metric in METRICS.items() if column in row}


class LiveRun:
    """The MLflow run that epochs are logged into.

    A server that does not answer costs one warning and never the training: epochs are kept and
    sent with the next one, and those never sent are in history.csv. Threads may share one.
    """

    def __init__(self, run_id: str, tracking_uri: str) -> None:
        self._run_id = run_id
        self._tracking_uri = tracking_uri
        self._unsent: list[Any] = []
        self._told: int | None = None
        """The last step of the metrics within epochs, once known: a killed process was further
        than the checkpoint that this one resumes from."""
        self._lock = threading.Lock()
        self._warned = False

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log a row of the history at step `row["epoch"]`."""
        from mlflow.entities import Metric

        now, step = int(time.time() * 1000), int(row["epoch"])
        with self._lock, self._tolerated():
            for key, value in epoch_metrics(row).items():
                self._unsent.append(Metric(key, value, now, step))
            self._client().log_batch(self._run_id, metrics=self._unsent)
            self._unsent = []

    def log_progress(self, text: str, step: int, values: Mapping[str, float]) -> None:
        """Tag the run with the text and log the values at a step, each step once.

        What the server does not take is not sent later: the next minute tells more.
        """
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        with self._lock, self._tolerated():
            client = self._client()
            told = self._last_step(client) if self._told is None else self._told
            values = values if step > told else {}
            metrics = [Metric(PROGRESS + key, value, now, step) for key, value in values.items()]
            client.log_batch(self._run_id, metrics=metrics, tags=[RunTag(PROGRESS_TAG, text)])
            self._told = step if metrics else told

    def _last_step(self, client: Any) -> int:
        points = client.get_metric_history(self._run_id, f"{PROGRESS}epochs")
        return max((int(point.step) for point in points), default=-1)

    def log_gpus(self, count: int) -> None:
        """Log how many GPUs the training sees: 0 on a CPU."""
        with self._tolerated():
            self._client().log_metric(self._run_id, GPUS, count)

    def log_examples(
        self,
        epoch: int,
        images: NDArray[np.uint8],
        masks: NDArray[np.uint8],
        lungs: NDArray[np.float32],
    ) -> None:
        """Log an overlay for each of images (n, S, S), under the same keys at every epoch.

        `masks` are (n, S, S) 0/1, `lungs` probabilities, cut at 0.5.
        """
        found = (lungs >= 0.5).astype(np.uint8)
        with self._tolerated():
            client = self._client()
            for i, pair in enumerate(zip(images, masks, found, strict=True), start=1):
                overlay = draw_overlay(*pair, side=EXAMPLE_SIDE)
                client.log_image(self._run_id, overlay, key=f"validation_{i}", step=epoch)

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # clients of artifact stores, such as boto3, raise their own
            self._warn(error)

    def _client(self) -> Any:
        from mlflow import MlflowClient
        from mlflow.environment_variables import (
            MLFLOW_HTTP_REQUEST_MAX_RETRIES,
            MLFLOW_HTTP_REQUEST_TIMEOUT,
        )

        # By default MLflow would hold an epoch up for minutes.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(RETRIES)
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(TIMEOUT_S)
        return MlflowClient(self._tracking_uri)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            reason = without_login(" ".join(str(error).split()))[:160]
            log.warning(
                "MLflow at %s does not take the epochs of run %s (%s); training goes on, its "
                "epochs are in history.csv",
                without_login(self._tracking_uri),
                self._run_id,
                reason,
            )
        self._warned = True


def live_run() -> LiveRun | None:
    """The run named by the settings; None for a training by hand."""
    settings = Settings()
    return LiveRun(settings.live_run, settings.tracking_uri) if settings.live_run else None
