"""Which pairs the newest delivery brought."""

from __future__ import annotations

from pathlib import Path

from pipeline.dataset.validation.populations import PREVIOUS, read_previous
from pipeline.dataset.versions.versions import (
    Version,
    find_version,
    list_pairs,
    list_versions,
    read_files,
)
from pipeline.errors import DatasetError
from pipeline.settings import Settings
from pipeline.workspace.dvc_config import shared_cache
from pipeline.workspace.objects import read_listing


def new_pairs(project: Path) -> set[str]:
    """The pairs that the version named by data.previous.json lacks, or has with other bytes.

    All where there is no version before. Raises DatasetError when that version is not named, or
    the list of its files cannot be had.
    """
    settings = Settings(repo=str(project))
    now = list_pairs(read_files(settings, find_version(project, None)))
    previous = read_previous(project)
    if previous.all is None:
        return set(now)
    if not previous.version:
        raise DatasetError(
            f"{project / PREVIOUS}: does not say which version it is of, as those do that `lungseg "
            "data import` wrote before conventions were known; name the pairs, or their class with "
            "--class"
        )
    before = list_pairs(_files(settings, previous.version, list_versions(project)))
    return {image_id for image_id, bytes_ in now.items() if before.get(image_id) != bytes_}


def _files(settings: Settings, md5: str, versions: list[Version]) -> dict[str, str]:
    """The files of a version; one that was never committed can only be in the cache."""
    known = next((version for version in versions if version.pointer.md5 == md5), None)
    return read_files(settings, known) if known else read_listing(shared_cache(settings), md5)
