"""Release of a candidate that passed: a new version, its evidence, and the alias `champion`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.release.gate import run_gate
from pipeline.release.registry import CHAMPION, aliased_version, move_champion
from pipeline.release.verdict import VERDICT, Verdict
from pipeline.tracking.run_record import REVISION_TAG, RUN_TAG, RunRecord, download
from pipeline.workspace.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHOWN = ("accuracy", "dice", "worst_class_dice")


@dataclass(frozen=True)
class Promotion:
    """What came of a promotion."""

    status: Literal["released", "skipped"]
    reason: str
    version: str | None = None
    """Of the registered model: the new one, or the one that is this very model."""
    metrics: Mapping[str, float] = field(default_factory=dict)


def run_promotion(record: RunRecord, workspace: Workspace) -> Promotion:
    """Release the run's candidate if its gate passed; return the outcome.

    A refused candidate and a model that is a version already change nothing in the registry.
    """
    client, name = record.client, record.settings.model_name
    with tempfile.TemporaryDirectory() as temporary:
        verdict = Verdict.read(download(record, VERDICT, Path(temporary)))
    champion = aliased_version(client, name, CHAMPION)
    if verdict.champion_version != (str(champion.version) if champion else None):
        # Another run released since: this verdict compared with a model that is not in use.
        verdict = run_gate(record, workspace)
    if not verdict.passed:
        failed = [check.name for check in verdict.checks if not check.passed]
        return _close(record, Promotion("skipped", f"refused: {', '.join(failed)}"))
    released = find_release(client, name, verdict.candidate.model_sha256)
    if released:
        reason = f"version {released} is this very model"
        return _close(record, Promotion("skipped", reason, released))
    return _close(record, _release(record, verdict))


def find_release(client: MlflowClient, name: str, model_sha256: str) -> str | None:
    """Return the version that already holds this model, or None."""
    query = f"name = '{name}' and tags.model_sha256 = '{model_sha256}'"
    found = client.search_model_versions(query)
    return str(found[0].version) if found else None


def _release(record: RunRecord, verdict: Verdict) -> Promotion:
    import mlflow

    client, name = record.client, record.settings.model_name
    metrics = {
        check.name: check.value
        for check in verdict.checks
        if check.name in SHOWN and isinstance(check.value, float)
    }
    version = mlflow.register_model(
        f"models:/{verdict.candidate.model_id}",
        name,
        tags=_evidence_tags(record, verdict, metrics),
    )
    note = client.get_run(record.run_id).data.tags.get("mlflow.note.content", "")
    client.update_model_version(name, version.version, description=note)
    move_champion(client, name, str(version.version), verdict.champion_version, "promote")
    return Promotion("released", f"version {version.version}", str(version.version), metrics)


def _evidence_tags(
    record: RunRecord,
    verdict: Verdict,
    metrics: Mapping[str, float],
) -> dict[str, str]:
    tags, params = record.run.data.tags, record.client.get_run(record.run_id).data.params
    inputs = record.run.inputs.dataset_inputs
    return {
        **verdict.candidate.hashes,
        **{key: f"{value:.6f}" for key, value in metrics.items()},
        "run": tags[RUN_TAG],
        "revision": tags[REVISION_TAG],
        "data_md5": inputs[0].dataset.digest if inputs else "",
        "threshold": params["evaluate.threshold"],
        "gate": "passed",
    }


def _close(record: RunRecord, outcome: Promotion) -> Promotion:
    record.client.set_tag(record.run_id, "release", outcome.status)
    record.client.set_tag(record.run_id, "release.reason", outcome.reason)
    record.client.set_terminated(record.run_id, "FINISHED")
    return outcome
