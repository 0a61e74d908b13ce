"""An entry of the log of releases: what became the champion, on what evidence, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict

from pipeline.artifacts import StrictModel
from pipeline.conventions import STANDARD
from pipeline.release.bounds import RecordedBounds
from pipeline.release.verdict import Check, Estimate

Action = Literal["promote", "rollback"]


class Approval(StrictModel):
    """What a person decided about a candidate."""

    model_config = ConfigDict(extra="ignore")  # its signature is not part of the content

    decision: Literal["approve", "reject"]
    by: str
    at: str
    """ISO time, UTC."""
    comment: str = ""
    release_sha256: str
    """Of the candidate that the person decided about."""
    report_sha256: str
    """Of the report that the person could look at."""


def now() -> str:
    """The time of this host's clock, ISO, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ReleaseFacts(StrictModel):
    """A released model and the evidence for it; SHA-256 in hexadecimal digits.

    A record is read by every version from 0.3.0 on, so what was added since has a default.
    """

    model_config = ConfigDict(extra="ignore")  # a later version may say more

    run_id: str
    """Of MLflow."""
    run: str
    revision: str
    data_md5: str
    """DVC's, of the dataset."""
    manifest_md5: str
    """DVC's, of manifest.parquet; empty if dvc.lock has none."""
    files: dict[str, str]
    """Every file of the MLflow model folder with its SHA-256."""
    release_sha256: str
    model_sha256: str
    report_sha256: str
    test_split_sha256: str
    metrics_sha256: str
    per_image_sha256: str
    dvc_lock_sha256: str
    params_sha256: str = ""
    """Empty in a record of version 0.3.0, which did not say."""
    threshold: float
    """The probability from which a pixel is lung."""
    conventions: tuple[str, ...] = (STANDARD,)
    """The annotation conventions that it answers in, the default first.

    A release whose record does not say so is from before there were others.
    """
    metrics: dict[str, Estimate]
    bounds: RecordedBounds
    checks: tuple[Check, ...]
    """The verdict."""
    approval: Approval | None

    @property
    def tags(self) -> dict[str, str]:
        """What a version of the registered model shows of them."""
        hashes = ("model", "release", "report", "test_split", "metrics", "per_image", "dvc_lock")
        return {
            **{f"{name}_sha256": getattr(self, f"{name}_sha256") for name in hashes},
            **{name: f"{one.value:.6f}" for name, one in self.metrics.items()},
            "run": self.run,
            "revision": self.revision,
            "data_md5": self.data_md5,
            "threshold": str(self.threshold),
            "gate": "passed",
            **({"bounds": self.bounds.note} if self.bounds.note else {}),
            **({"approved_by": self.approval.by} if self.approval else {}),
        }


class ReleaseRecord(StrictModel):
    """One move of the alias `champion`."""

    model_config = ConfigDict(extra="ignore")  # a later version may say more, and its signature

    number: int
    """Place in the log, from 1."""
    action: Action
    time: str
    """ISO time, UTC, of the clock of the host that promoted; the order is that of the numbers."""
    model: str
    """Name of the registered model."""
    version: str
    """The champion from now on."""
    former: str | None
    """The champion until now."""
    before: str
    """SHA-256 of the entry before; empty for the first."""
    by: str
    """The person that went back; empty for a promotion."""
    facts: ReleaseFacts | None
    """None when a release from before this log became the champion again."""

    @property
    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json")
