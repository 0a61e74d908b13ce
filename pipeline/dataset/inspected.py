"""What validation finds in a recorded version of the dataset, found once and then kept."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pandas as pd

import pipeline
from pipeline.dataset.versions import Version, link_files
from pipeline.files import atomic_path
from pipeline.settings import Settings


def inspect_cached(settings: Settings, md5: str, data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return manifest and quarantine of the version `md5`, whose files lie in `data`.

    They are kept below the home, by the version and by the code that judges it.
    """
    known = find_inspected(settings, md5)
    if known:
        return known
    from pipeline.stages.validate import inspect_dataset

    manifest, quarantine = inspect_dataset(data)
    target = _target(settings, md5)
    with atomic_path(target.with_suffix(".quarantine.parquet")) as partial:
        quarantine.to_parquet(partial, index=False)
    with atomic_path(target) as partial:
        manifest.to_parquet(partial, index=False)
    return manifest, quarantine


def find_inspected(settings: Settings, md5: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return manifest and quarantine of the version when they are known."""
    target = _target(settings, md5)
    if not target.exists():  # written last, so the other file is there too
        return None
    return pd.read_parquet(target), pd.read_parquet(target.with_suffix(".quarantine.parquet"))


def _target(settings: Settings, md5: str) -> Path:
    return settings.home / "manifests" / f"{md5.removesuffix('.dir')}-{_code()}.parquet"


def _code() -> str:
    """A hash of the modules that can change what is found: a version is judged by one code."""
    package = Path(pipeline.__file__).parent
    modules = [*sorted((package / "dataset").glob("*.py")), package / "stages/validate.py"]
    digest = hashlib.sha256()
    for module in modules:
        digest.update(module.read_bytes())
    return digest.hexdigest()[:12]


def inspect_version(settings: Settings, version: Version) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return manifest and quarantine of a version that need not be checked out.

    Neither data/ nor git is touched. Raises DatasetError when DVC cannot give its files.
    """
    known = find_inspected(settings, version.recorded.md5)
    if known:
        return known
    settings.home.mkdir(parents=True, exist_ok=True)
    # Below the home, where links into the cache are most likely to be possible.
    with tempfile.TemporaryDirectory(dir=settings.home, suffix=".partial") as temporary:
        folder = Path(temporary, "data")
        link_files(settings, version, folder)
        return inspect_cached(settings, version.recorded.md5, folder)
