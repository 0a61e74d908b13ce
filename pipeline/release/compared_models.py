"""A version, an alias or a run that a person names, found in MLflow with its scores and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.conventions import STANDARD
from pipeline.dataset.splits.table import SPLIT_FILE
from pipeline.errors import ReleaseError, StageError
from pipeline.evaluation.per_image import PER_IMAGE_FILE
from pipeline.files import sha256_file
from pipeline.git_command import without_login
from pipeline.inference.segmenter import Segmenter
from pipeline.params_file import read_yaml
from pipeline.release.paired_scores import KEYS, ComparedModel
from pipeline.release.registry import fetch_model, fetch_version
from pipeline.release.release_log import ReleaseLog, read_log
from pipeline.release.release_record import ReleaseFacts
from pipeline.release.scored_conventions import CONVENTION
from pipeline.release.signing import open_verifier
from pipeline.settings import Settings
from pipeline.tracking.run_record import (
    REVISION_TAG,
    RUN_TAG,
    RunRecord,
    download,
    find_artifact,
    find_model,
    find_record,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class NamedRun:
    """A run that holds a model and its scores, and the registered version it became."""

    record: RunRecord
    version: ModelVersion | None = None
    """None when it was named as a run."""
    aliases: tuple[str, ...] = ()
    facts: ReleaseFacts | None = None
    """What was signed of the version at its release; None for what has no such record."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        if self.version is None:
            return str(self.record.run.info.run_name)
        called = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"version {self.version.version}{called}"

    @property
    def detail(self) -> str:
        """Which run and commit it is of."""
        tags = self.record.run.data.tags
        run = f"run {tags.get(RUN_TAG, self.record.run_id)}"
        commit = tags.get(REVISION_TAG, "")[:10]
        return f"{run}, commit {commit}" if commit else run

    @property
    def recorded(self) -> Mapping[str, str]:
        """The hashes and the threshold that its release recorded, signed where they can be."""
        return self.facts.tags if self.facts else self.version.tags if self.version else {}


def find_named_run(settings: Settings, client: MlflowClient, word: str) -> NamedRun:
    """The run behind an alias or number of the registered model, or a run's id, ours or MLflow's.

    Raises ReleaseError when there is none.
    """
    releases = read_log(client, settings.model_name, open_verifier(settings))
    number = releases.aliases.get(word, word)
    if number in releases.versions:
        return version_run(settings, client, releases, number)
    record = find_record(settings, client, word)
    if record is None:
        raise ReleaseError(
            f"{word!r}: found no such version or alias of {settings.model_name} and no such run "
            f"in experiment {settings.experiment!r} of {without_login(settings.tracking_uri)}; "
            "`lungseg releases` lists versions and runs",
        )
    return NamedRun(record)


def version_run(
    settings: Settings, client: MlflowClient, releases: ReleaseLog, number: str
) -> NamedRun:
    """The run of a registered version."""
    version = releases.versions[number]
    record = RunRecord(settings, client, client.get_run(version.run_id))
    aliases = tuple(sorted(key for key, value in releases.aliases.items() if value == number))
    return NamedRun(record, version, aliases, releases.facts(number))


def load_compared(named: NamedRun, folder: Path) -> ComparedModel:
    """Download the scores, the split and the model to `folder`; a model may be missing.

    Raises ReleaseError when there are no scores, or they are not those that were released.
    """
    folder.mkdir(parents=True, exist_ok=True)
    segmenter, threshold, problem = _load_model(named, folder)
    return ComparedModel(
        name=named.name,
        detail=named.detail,
        per_image=_load_scores(named, folder),
        split=_load_split(named, folder),
        segmenter=segmenter,
        threshold=threshold,
        problem=problem,
    )


def _load_scores(named: NamedRun, folder: Path) -> pd.DataFrame:
    record = named.record
    path = find_artifact(record.client, record.run_id, f"evaluate/{PER_IMAGE_FILE.name}", folder)
    if path is None:
        raise ReleaseError(
            f"{named.name}: has no table of scores ({record.run.info.status.lower()}), expected "
            "the one of its stage evaluate; let the run get there, or compare another",
        )
    expected = named.recorded.get("per_image_sha256", "")
    if named.version is not None and sha256_file(path) != expected:
        raise ReleaseError(
            f"{named.name}: its table of scores is not the one that was released; see "
            "`lungseg releases verify`",
        )
    try:
        return pd.read_parquet(path)  # as it is: an earlier version has fewer columns
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:120]
        raise ReleaseError(
            f"{named.name}: its table of scores cannot be read ({said}), expected Parquet; start "
            "a new run",
        ) from None


def _load_split(named: NamedRun, folder: Path) -> pd.DataFrame | None:
    record = named.record
    path = find_artifact(record.client, record.run_id, f"split/{SPLIT_FILE.name}", folder)
    if path is None:
        return None
    split = pd.read_csv(path, dtype=str, keep_default_na=False)
    if CONVENTION not in split.columns:  # from before there were others
        split = split.assign(**{CONVENTION: STANDARD, "convention_by": ""})
    return split if {*KEYS, "split"} <= set(split.columns) else None


def _load_model(named: NamedRun, folder: Path) -> tuple[Segmenter | None, float, str]:
    """What predicts and from which probability a pixel is lung; or why there is none."""
    from mlflow.exceptions import MlflowException

    try:
        if named.version is not None:
            release = fetch_version(named.version, folder, named.recorded)
            return release.model.segmenter(), release.threshold, ""
        model = find_model(named.record.client, named.record.run)
        if model is None:
            return None, 0.0, "its run has no model"
        fetched = fetch_model(f"models:/{model.model_id}", model.tags, folder, named.name)
        return fetched.segmenter(), _threshold(named.record, folder), ""
    except (ReleaseError, StageError, MlflowException, OSError) as error:
        return None, 0.0, " ".join(str(error).split())[:300]


def _threshold(record: RunRecord, folder: Path) -> float:
    params = read_yaml(download(record, "code/params.yaml", folder))
    try:
        return float(params["evaluate"]["threshold"])
    except (KeyError, TypeError, ValueError):
        raise ReleaseError(
            f"run {record.run_id}: its params.yaml has no evaluate.threshold, expected the "
            "probability from which a pixel is lung",
        ) from None
