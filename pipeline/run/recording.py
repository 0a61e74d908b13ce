"""What a workspace holds, written into the run record and read from there by other hosts."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import sha256_file
from pipeline.settings import Settings, account_name
from pipeline.stage_graph import stage_definition, stage_names
from pipeline.tracking.client import connect
from pipeline.tracking.run_record import (
    REVISION_TAG,
    RUN_TAG,
    RunRecord,
    create_record,
    find_artifact,
    open_record,
)
from pipeline.workspace.lock import hold_workspace
from pipeline.workspace.reproduce import locked_stages, materialise
from pipeline.workspace.workspace import RunRequest, Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

BY_HAND = "lungseg track"
"""What records results that were made without a run."""
TITLE_LENGTH = 100
"""Characters of a run's title for what it changes."""
VALUE_LENGTH = 32
"""Characters of a value that it gives."""


def start_record(
    settings: Settings, client: MlflowClient, request: RunRequest, workspace: Workspace
) -> RunRecord:
    """Start the run record of a request that `workspace` serves."""
    tags = {
        RUN_TAG: request.run_id,
        REVISION_TAG: workspace.revision,
        "mlflow.user": request.user or account_name(),
        "mlflow.source.name": request.source,
        "mlflow.source.type": "JOB" if request.source.startswith("dags/") else "LOCAL",
        "mlflow.parentRunId": request.parent or "",
        "lungseg.revision": request.revision,
        "lungseg.overrides": "; ".join(request.overrides),
        "lungseg.environment": f"uv.lock {sha256_file(workspace.folder / 'uv.lock')[:16]}",
    }
    given = {name: value for name, value in tags.items() if value}
    title = request.title or run_title(request, workspace.revision, datetime.now(UTC))
    return create_record(settings, client, workspace.folder, title, given)


def run_title(request: RunRequest, commit: str, began: datetime) -> str:
    """What a person tells a run by: what it changes, its commit, when it began (UTC).

    MLflow's table of runs shows only the beginning. The seconds tell apart two runs of the same.
    """
    changed = ", ".join(_change(override) for override in request.overrides)
    changed = f"{changed[: TITLE_LENGTH - 1]}…" if len(changed) > TITLE_LENGTH else changed
    by_hand = "by hand" if request.source == BY_HAND else ""
    words = [by_hand, changed, commit[:7], f"{began:%Y-%m-%d %H:%M:%S}"]
    return " ".join(filter(None, words))


def _change(override: str) -> str:
    """Without its section, and without a value that would hide the other ones."""
    name, _, value = override.partition(".")[2].partition("=")
    return f"{name}={value}" if len(value) <= VALUE_LENGTH else f"{name}=…"


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


def take_recorded(
    settings: Settings, run_id: str, workspace: Workspace, before: str | None = None
) -> None:
    """Take what the run record says of the stages that ran in this run, up to the one named.

    Another host may have run them. The workspace's dvc.lock, which may know another result of the
    same inputs, says the same then, and such a result is removed from the workspace.
    """
    names = stage_names(workspace.folder)
    names = names[: names.index(before)] if before else names
    with connect(settings) as client, tempfile.TemporaryDirectory() as temporary:
        record = open_record(settings, client, run_id)
        ran = {name for name, status in record.recorded().items() if status == "ran"}
        lock = find_artifact(client, record.run_id, "dvc.lock", Path(temporary)) if ran else None
        recorded = locked_stages(lock.parent) if lock else {}
    with hold_workspace(workspace.folder):
        known = locked_stages(workspace.folder)
        for name in ran.intersection(names, recorded):
            if recorded[name] != known.get(name):
                _replace_result(workspace.folder, name, recorded[name])


def _replace_result(folder: Path, name: str, entry: dict[str, Any]) -> None:
    from dvc.utils.serialize import modify_yaml

    for output in stage_definition(folder, name).outputs:
        if (folder / output).is_dir():
            shutil.rmtree(folder / output)
        (folder / output).unlink(missing_ok=True)
    with modify_yaml(folder / "dvc.lock") as lock:
        lock.setdefault("schema", "2.0")
        lock.setdefault("stages", {})[name] = entry
