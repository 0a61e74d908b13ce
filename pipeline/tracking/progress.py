"""MLflow through its REST API, for what is shown of a run while it goes on.

Importing mlflow costs seconds; two questions do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Progress:
    """Of a training: epochs done, epochs at most (None if not logged), latest validation Dice."""

    epoch: int
    epochs: int | None
    dice: float

    def __str__(self) -> str:
        of = f"/{self.epochs}" if self.epochs else ""
        return f"epoch {self.epoch}{of}, validation Dice {self.dice:.3f}"


class Tracking:
    """The tracking server; what it does not answer is None, for a run goes on without."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def run(self, run: str) -> dict[str, Any] | None:
        """Info and data of an MLflow run."""
        url = f"{self.uri}/api/2.0/mlflow/runs/get"
        try:
            response = httpx.get(url, params={"run_id": run}, timeout=5)
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            return None
        found: dict[str, Any] | None = response.json()["run"] if response.is_success else None
        return found

    def progress(self, run: str) -> Progress | None:
        """How far the training of this run is; None before its first epoch."""
        data = (self.run(run) or {}).get("data", {})
        params = {entry["key"]: entry["value"] for entry in data.get("params", [])}
        for metric in data.get("metrics", []):
            if metric["key"] == "val_dice":
                epochs = params.get("train.epochs", "")
                limit = int(epochs) if epochs.isdigit() else None
                return Progress(int(metric["step"]), limit, float(metric["value"]))
        return None

    def page(self, run: str) -> str | None:
        """Address of the run in MLflow's pages."""
        found = self.run(run)
        if found is None:
            return None
        return f"{self.uri}/#/experiments/{found['info']['experiment_id']}/runs/{run}"
