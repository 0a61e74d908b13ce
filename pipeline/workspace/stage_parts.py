"""The parts of a stage in one run, on their way between hosts.

    <LUNGSEG_HOME>/parts/<MLflow run>/<stage>/2-of-4/…    where it was made, or was fetched to
    parts/<MLflow run>/<stage>/2-of-4/…                   in the store that hosts share

They belong to the run, whose revision, data and parameters are fixed, and are removed when the
stage has put them together. MLflow's id names it: deployments that share a store may each have a
run of the same name. In the store SHA256SUMS comes last.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path, PurePosixPath

from pipeline.errors import LungsegError
from pipeline.files import SUMS, sums_hold
from pipeline.params_file import read_yaml
from pipeline.parts import StagePart
from pipeline.remote_store import RemoteStore, open_store
from pipeline.settings import Settings
from pipeline.stage_graph import stage_definitions
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

ROOT = "parts"
"""Folder of the store, and of the home, that holds those of all runs."""


class StageParts:
    """The parts of one stage of a workspace's run. Methods raise what the store raises."""

    def __init__(self, settings: Settings, workspace: Workspace, name: str) -> None:
        run = str(workspace.mlflow_run_id)
        self.folder = settings.home / ROOT / run / name
        self._root = f"{ROOT}/{run}/{name}"
        self._store = open_store(workspace.folder)

    def made(self, part: StagePart) -> Path | None:
        """The folder of a part that this host has whole."""
        folder = self.folder / part.folder
        return folder if sums_hold(folder) else None

    def send(self, part: StagePart) -> None:
        """Copy a part of this host to the store, for the host that puts them together."""
        if self._store is None:
            return
        self._store.put_folder(self.folder / part.folder, f"{self._root}/{part.folder}")

    def fetch(self) -> None:
        """Get the parts that other hosts made; one that is damaged is done again here."""
        if self._store:
            self._fetch(self._store)
        for place in sorted(self.folder.glob("[0-9]*")):
            if not sums_hold(place):
                log.warning("%s: damaged, so this part is done again", place)
                shutil.rmtree(place)

    def _fetch(self, store: RemoteStore) -> None:
        for path, names in store.folders(self._root).items():
            target = self.folder / PurePosixPath(path).name
            if SUMS in names and not sums_hold(target):
                store.get_folder(path, names, target)

    def clear(self) -> None:
        """Remove them all: the stage is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._store is None:
            return
        try:
            self._store.remove_all(file.path for file in self._store.list(self._root))
        except LungsegError as error:
            log.warning("the parts of a finished stage stay in the store: %s", error)


def part_count(folder: Path) -> int:
    """In how many parts the project's revision in `folder` does stages; 1 where it knows none."""
    known = any(stage.in_parts for stage in stage_definitions(folder).values())
    return int(read_yaml(folder / "params.yaml")["stages"]["parts"]) if known else 1
