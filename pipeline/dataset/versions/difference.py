"""What changed between two versions of the dataset: its pairs, and what validation says of them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.artifacts import StrictModel
from pipeline.dataset.layout import IMAGES, MASKS
from pipeline.dataset.versions.findings import version_findings
from pipeline.dataset.versions.versions import (
    Version,
    count_classes,
    find_version,
    list_pairs,
    read_files,
)
from pipeline.settings import Settings


class VersionResults(StrictModel):
    """What validation says of a version."""

    good_pairs: int
    quarantined: dict[str, int]
    """Files by the code of their fault."""
    flags: dict[str, int]
    """Pairs by the code of what is odd about them."""
    conventions: dict[str, int]
    """Good pairs by annotation convention."""
    median_lung_area: dict[str, float]
    """Of each class, as a share of the mask."""
    median_intensity: dict[str, float]
    """Of each class, the mean grey value, 0..255."""


class _VersionName(StrictModel):
    commit: str
    date: str
    md5: str
    classes: dict[str, int]
    """Pairs of each class."""


class VersionSummary(VersionResults, _VersionName):
    """Which version it is, and what validation says of it."""


class DifferenceSummary(StrictModel):
    """A difference for machines; the fields are those of Difference."""

    before: VersionSummary
    after: VersionSummary
    added: list[str]
    removed: list[str]
    changed: dict[str, str]
    other_files: dict[str, str]
    conventions: dict[str, str]


@dataclass(frozen=True)
class ComparedVersion:
    """One of the two versions."""

    version: Version
    files: dict[str, str]
    """Path to MD5."""
    manifest: pd.DataFrame
    quarantine: pd.DataFrame

    @property
    def results(self) -> VersionResults:
        """What validation says of it."""
        flags = Counter(flag for row in self.manifest["flags"] for flag in row.split())
        medians = self.manifest.groupby("class_name")[["lung_area", "mean"]].median()
        return VersionResults(
            good_pairs=len(self.manifest),
            quarantined=_counted(self.quarantine["reason"]),
            flags=dict(sorted(flags.items())),
            conventions=_counted(self.manifest["convention"]),
            median_lung_area=_rounded(medians["lung_area"], 4),
            median_intensity=_rounded(medians["mean"], 1),
        )

    @property
    def summary(self) -> VersionSummary:
        """The version for machines."""
        return VersionSummary(
            commit=self.version.commit,
            date=self.version.date,
            md5=self.version.pointer.md5,
            classes=count_classes(list_pairs(self.files)),
            **dict(self.results),
        )


@dataclass(frozen=True)
class Difference:
    """The way from one version to another; names are image_ids in the order people count."""

    before: ComparedVersion
    after: ComparedVersion
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    """What of the pair has other bytes: radiograph, mask, or radiograph and mask."""
    other_files: dict[str, str] = field(default_factory=dict)
    """Files that belong to no pair, such as metadata sheets: added, removed or changed."""
    conventions: dict[str, str] = field(default_factory=dict)
    """The former and the present convention of good pairs of both whose convention differs."""

    @property
    def summary(self) -> DifferenceSummary:
        """Everything, for machines."""
        return DifferenceSummary(
            before=self.before.summary,
            after=self.after.summary,
            added=self.added,
            removed=self.removed,
            changed=self.changed,
            other_files=self.other_files,
            conventions=self.conventions,
        )


def compare_versions(project: Path, before: str, after: str | None) -> Difference:
    """Compare the dataset at two git revisions; None is the working tree's data.dvc.

    Nothing is checked out. Raises DatasetError for a revision without a dataset, or one whose
    files neither DVC's cache nor its remote has.
    """
    settings = Settings(repo=str(project))
    found = [find_version(project, revision) for revision in (before, after)]
    left, right = (_open(settings, version) for version in found)
    old, new = list_pairs(left.files), list_pairs(right.files)
    return Difference(
        before=left,
        after=right,
        added=sorted(new.keys() - old.keys(), key=natural),
        removed=sorted(old.keys() - new.keys(), key=natural),
        changed={
            name: _changed_halves(old[name], new[name])
            for name in sorted(old.keys() & new.keys(), key=natural)
            if old[name] != new[name]
        },
        other_files=_compare_others(left.files, right.files),
        conventions=compare_conventions(left, right),
    )


def _open(settings: Settings, version: Version) -> ComparedVersion:
    return ComparedVersion(
        version, read_files(settings, version), *version_findings(settings, version)
    )


def compare_conventions(old: ComparedVersion, new: ComparedVersion) -> dict[str, str]:
    """Those of a Difference."""
    before, after = (
        dict(zip(one.manifest["image_id"], one.manifest["convention"], strict=True))
        for one in (old, new)
    )
    return {
        name: f"{before[name]} → {after[name]}"
        for name in sorted(before.keys() & after.keys(), key=natural)
        if before[name] != after[name]
    }


def _changed_halves(old: tuple[str, str], new: tuple[str, str]) -> str:
    halves = zip(("radiograph", "mask"), old, new, strict=True)
    return " and ".join(half for half, one, other in halves if one != other)


def _compare_others(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    changes = {}
    for file in sorted(old.keys() | new.keys()):
        if not {IMAGES, MASKS} & set(file.split("/")) and old.get(file) != new.get(file):
            changes[file] = "added" if file not in old else "changed" if file in new else "removed"
    return changes


def natural(name: str) -> list[tuple[str, int]]:
    """A key that sorts names as people count: COVID-2 before COVID-10."""
    return [(text, int(part or 0)) for text, part in re.findall(r"(\D+|(?=\d))(\d*)", name)]


def _counted(values: pd.Series[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _rounded(values: pd.Series[float], digits: int) -> dict[str, float]:
    return {str(name): round(float(value), digits) for name, value in values.items()}
