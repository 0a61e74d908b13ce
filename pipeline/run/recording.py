"""What a workspace holds, written into the run record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.settings import Settings
from pipeline.stage_graph import stage_definition, stage_names
from pipeline.tracking.run_record import REVISION_TAG, RUN_TAG, RunRecord, create_record
from pipeline.workspace.reproduce import materialise
from pipeline.workspace.workspace import RunRequest, Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient


def start_record(
    settings: Settings, client: MlflowClient, request: RunRequest, workspace: Workspace
) -> RunRecord:
    """Start the run record of a request that `workspace` serves."""
    tags = {
        RUN_TAG: request.run_id,
        REVISION_TAG: workspace.revision,
        "lungseg.revision": request.revision,
        "lungseg.overrides": "; ".join(request.overrides),
        "lungseg.python": str(workspace.python),
        **({"mlflow.parentRunId": request.parent} if request.parent else {}),
    }
    title = request.title or request.run_id
    return create_record(settings, client, workspace.folder, title, tags)


def record_stage(record: RunRecord, workspace: Workspace, name: str, status: str) -> None:
    """Fetch the outputs of an up-to-date stage and record them; doing it again is harmless."""
    materialise(workspace, name)
    shown = stage_definition(workspace.folder, name).shown
    record.log_stage(name, shown, workspace.folder, status)


def record_cached(record: RunRecord, workspace: Workspace, before: str | None = None) -> None:
    """Record the stages not recorded yet, which came from the cache, up to the one named."""
    recorded = record.recorded()
    for name in stage_names(workspace.folder):
        if name == before:
            return
        if name not in recorded:
            record_stage(record, workspace, name, "cached")
