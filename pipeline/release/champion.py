"""The releases that a candidate is measured against: the champion, and the best one so far."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from pipeline.conventions import in_order
from pipeline.dataset.splits.table import SPLIT_FILE, SplitRow, split_rows, test_split_sha256
from pipeline.errors import ReleaseError, StageError
from pipeline.evaluation.per_image import PER_IMAGE_FILE, per_image_table
from pipeline.evaluation.scoring import score_images
from pipeline.files import sha256_file
from pipeline.release.evidence import Evidence
from pipeline.release.registry import fetch_version
from pipeline.release.release_log import ReleaseLog
from pipeline.release.scored_conventions import (
    ASKED,
    CONVENTION,
    asked_conventions,
    learned_conventions,
)
from pipeline.tracking.run_record import RunRecord, find_artifact
from pipeline.workspace.reproduce import materialise
from pipeline.workspace.workspace import Workspace

log = logging.getLogger(__name__)

SCORED = ["image_id", "pixel_sha256", "dice"]


@dataclass(frozen=True)
class Reference:
    """A release's score on every test radiograph of a candidate."""

    version: str
    per_image: pd.DataFrame
    """With the columns SCORED and ASKED."""


def score_champion(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    releases: ReleaseLog,
    folder: Path,
) -> Reference | None:
    """Score the champion on the candidate's test radiographs; None when nothing was released.

    A deleted champion still counts by its recorded scores. Raises ReleaseError when those are of
    other radiographs.
    """
    if releases.champion is None:
        return None
    return _score(record, workspace, evidence, releases, releases.champion, folder)


def score_best(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    releases: ReleaseLog,
    folder: Path,
) -> Reference | None:
    """Score the release with the highest recorded mean Dice, among those that nobody left again.

    None when no release has a signed record. One that can be scored no more is passed over.
    """
    left = set()
    for one in releases.entries:
        if one.action == "rollback":
            left.add(one.former)
            left.discard(one.version)
    dice = {}
    for version in releases.released - left:
        facts = releases.facts(version)
        if facts and "dice" in facts.metrics:
            dice[version] = facts.metrics["dice"].value
    for version in sorted(dice, key=lambda one: (-dice[one], int(one))):
        try:
            return _score(record, workspace, evidence, releases, version, folder)
        except (ReleaseError, StageError) as error:
            log.warning("version %s counts no more as the best release: %s", version, error)
    return None


def _score(
    record: RunRecord,
    workspace: Workspace,
    evidence: Evidence,
    releases: ReleaseLog,
    version: str,
    folder: Path,
) -> Reference:
    """A release's scores: as recorded when they are of the same radiographs, else predicted anew.

    A radiograph's split follows from its content, so a release trained on none of them. What it
    was asked for is the convention of each mask or, where it does not know that, the one of its own
    that it does best in.
    """
    kept = folder / f"scores-{version}.parquet"
    if not kept.is_file():
        recorded = _recorded_scores(record, releases, version, folder, evidence)
        if recorded is not None:
            scores = recorded.assign(**{ASKED: asked_conventions(recorded)})
        elif version in releases.versions:
            log.info("scoring version %s on the candidate's test radiographs", version)
            scores = _predicted(workspace, evidence, releases, version, folder)
        else:
            raise ReleaseError(
                f"{releases.name}: version {version} was deleted and has no scores of these test "
                "radiographs; go to another release with `lungseg rollback --to VERSION`",
            )
        scores[[*SCORED, ASKED]].to_parquet(kept)
    return Reference(version, pd.read_parquet(kept))


def _recorded_scores(
    record: RunRecord, releases: ReleaseLog, version: str, folder: Path, evidence: Evidence
) -> pd.DataFrame | None:
    """The per-image scores of a release, if they still are those that were recorded of it.

    None as well where they say nothing of how it would do now, on the candidate's test radiographs.
    """
    facts, found = releases.facts(version), releases.versions.get(version)
    if facts:
        run_id, sha256 = facts.run_id, facts.per_image_sha256
    elif found:
        run_id, sha256 = found.run_id, found.tags.get("per_image_sha256", "")
    else:
        return None
    target = folder / f"version-{version}"
    target.mkdir()
    path = find_artifact(record.client, run_id, f"evaluate/{PER_IMAGE_FILE.name}", target)
    if path is None or sha256_file(path) != sha256:
        return None
    scores = pd.read_parquet(path)  # as it is: an earlier version has fewer columns
    split = find_artifact(record.client, run_id, f"split/{SPLIT_FILE.name}", target)
    if split is None:
        return None
    rows = pd.read_csv(split, dtype=str, keep_default_na=False)
    return scores if still_hold(scores, rows, evidence) else None


def still_hold(scores: pd.DataFrame, split: pd.DataFrame, evidence: Evidence) -> bool:
    """Whether scores of a run with this `split` are what the candidate is measured against."""
    return (
        same_masks(split, evidence)
        and answers_as_now(scores, evidence)
        and set(evidence.test[CONVENTION]) <= learned_conventions(split)
    )


def same_masks(split: pd.DataFrame, evidence: Evidence) -> bool:
    """Whether the candidate's test radiographs have the same files of masks in `split`."""
    if "mask_sha256" not in split.columns:
        return False
    before, now = (
        table.drop_duplicates("image_id").set_index("image_id")["mask_sha256"]
        for table in (split, evidence.test)
    )
    return before.reindex(now.index).equals(now)


def answers_as_now(scores: pd.DataFrame, evidence: Evidence) -> bool:
    """Whether scores are of the candidate's test radiographs, asked for in the same conventions.

    A table without conventions is of a release that knows one only, whatever it is asked for.
    """
    if test_split_sha256(scores) != evidence.test_split_sha256:
        return False
    if CONVENTION not in scores.columns:
        return True
    now = evidence.test.set_index("image_id")[CONVENTION]
    return bool((scores.set_index("image_id")[CONVENTION].reindex(now.index) == now).all())


def _predicted(
    workspace: Workspace, evidence: Evidence, releases: ReleaseLog, version: str, folder: Path
) -> pd.DataFrame:
    facts = releases.facts(version)
    recorded = facts.tags if facts else None
    released = fetch_version(releases.versions[version], folder, recorded)
    materialise(workspace, "data")
    params = evidence.evaluate.model_copy(update={"threshold": released.threshold})
    segmenter = released.model.segmenter()

    def scored(pairs: Sequence[SplitRow]) -> pd.DataFrame:
        return per_image_table(score_images(segmenter, pairs, workspace.folder / "data", params))

    return best_answers(split_rows(evidence.test), segmenter.conventions, scored)


def best_answers(
    pairs: Sequence[SplitRow],
    known: Sequence[str],
    scored: Callable[[Sequence[SplitRow]], pd.DataFrame],
) -> pd.DataFrame:
    """The table that `scored` makes of `pairs`, each asked for as ASKED says.

    Masks of a convention that is not `known`, which may be one renamed, are asked for in each that
    is, and count in the one with the highest mean Dice: a candidate has to hold its own against
    the best that the release can do there.
    """
    tables = []
    for wanted in in_order(pair.convention for pair in pairs):
        own = [pair for pair in pairs if pair.convention == wanted]
        answers = [
            scored([replace(pair, convention=name) for pair in own]).assign(**{ASKED: name})
            for name in ([wanted] if wanted in known else known)
        ]
        tables.append(max(answers, key=lambda table: float(table["dice"].mean())))
    return pd.concat(tables, ignore_index=True)
