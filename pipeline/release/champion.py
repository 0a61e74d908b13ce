"""The released model that a candidate is measured against."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.dataset.splits.table import select_split, split_rows
from pipeline.errors import ReleaseError
from pipeline.evaluation.metrics import PER_IMAGE, per_image_table
from pipeline.evaluation.scoring import score_images
from pipeline.files import sha256_file
from pipeline.release.evidence import Evidence
from pipeline.release.registry import CHAMPION, aliased_version, fetch_version
from pipeline.tracking.run_record import RunRecord, download
from pipeline.workspace.reproduce import materialise
from pipeline.workspace.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionScores:
    """The champion's score on every test radiograph of a candidate."""

    version: str
    per_image: pd.DataFrame


def score_champion(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    folder: Path,
) -> ChampionScores | None:
    """Score the champion on the candidate's test radiographs; None when nothing is released.

    Its recorded scores serve when they are of the same radiographs; otherwise it predicts them
    anew. A radiograph's split follows from its content, so the champion trained on none of them.
    """
    champion = aliased_version(record.client, record.settings.model_name, CHAMPION)
    if champion is None:
        return None
    if champion.tags.get("test_split_sha256") == evidence.test_split_sha256:
        recorded = _recorded_scores(record, champion, folder)
        if recorded is not None:
            return ChampionScores(str(champion.version), recorded)
    log.info("scoring champion version %s on the candidate's test radiographs", champion.version)
    return ChampionScores(
        str(champion.version),
        _score(record, workspace, evidence, champion, folder),
    )


def _recorded_scores(
    record: RunRecord, champion: ModelVersion, folder: Path
) -> pd.DataFrame | None:
    run = record.client.get_run(champion.run_id)
    target = folder / "champion"
    target.mkdir()
    try:
        path = download(
            RunRecord(record.settings, record.client, run), "evaluate/per_image.parquet", target
        )
    except ReleaseError:
        return None
    return PER_IMAGE.read(path) if sha256_file(path) == champion.tags["per_image_sha256"] else None


def _score(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    champion: ModelVersion,
    folder: Path,
) -> pd.DataFrame:
    released = fetch_version(champion, folder)
    materialise(workspace, "data")
    params = evidence.params.evaluate.model_copy(update={"threshold": released.threshold})
    pairs, data = split_rows(select_split(evidence.split, "test")), workspace.folder / "data"
    return per_image_table(score_images(released.model.segmenter(), pairs, data, params, None))
