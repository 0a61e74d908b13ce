"""What validation finds in a version of the dataset, found once and then kept."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pandas as pd

from pipeline.dataset.manifest import MANIFEST, QUARANTINE
from pipeline.dataset.validation.whole import inspect_dataset
from pipeline.dataset.versions.versions import Version, link_files
from pipeline.errors import StageError
from pipeline.fingerprints import code_sha256
from pipeline.params import ValidateParams
from pipeline.params_file import load_params
from pipeline.settings import Settings, make_home


def find_findings(settings: Settings, md5: str, data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return manifest and quarantine of the version `md5`, whose files lie in `data`.

    They are kept below the home, by the version, by the code that judges it and by the limits of
    params.yaml; without that file no mask is flagged.
    """
    known = load_findings(settings, md5)
    if known:
        return known
    manifest, quarantine, _ = inspect_dataset(data, project_limits(settings))
    make_home(settings)
    target = _target(settings, md5)
    QUARANTINE.write(target.with_suffix(".quarantine.parquet"), quarantine)
    MANIFEST.write(target, manifest)
    return manifest, quarantine


def load_findings(settings: Settings, md5: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return manifest and quarantine of the version when they are known."""
    target = _target(settings, md5)
    if not target.exists():  # written last, so the other file is there too
        return None
    try:
        return MANIFEST.read(target), QUARANTINE.read(target.with_suffix(".quarantine.parquet"))
    except StageError:  # damaged, but what is kept can be found again
        return None


def _target(settings: Settings, md5: str) -> Path:
    name = f"{md5.removesuffix('.dir')}-{_judgement(project_limits(settings))}.parquet"
    return settings.home / "manifests" / name


def project_limits(settings: Settings) -> ValidateParams | None:
    """What the project's params.yaml says of datasets; None without that file."""
    path = Path(settings.repo, "params.yaml")
    return load_params(path).validate_ if path.exists() else None


def _judgement(limits: ValidateParams | None) -> str:
    """A hash of what can change what is found: all versions are judged by one code and limits."""
    return hashlib.sha256(f"{code_sha256('validate')} {limits!r}".encode()).hexdigest()[:12]


def version_findings(settings: Settings, version: Version) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return manifest and quarantine of a version that need not be checked out.

    Neither data/ nor git is touched. Raises DatasetError when DVC cannot give its files.
    """
    known = load_findings(settings, version.pointer.md5)
    if known:
        return known
    make_home(settings)
    # Below the home, where links into the cache are most likely to be possible.
    with tempfile.TemporaryDirectory(dir=settings.home, suffix=".partial") as temporary:
        folder = Path(temporary, "data")
        link_files(settings, version, folder)
        return find_findings(settings, version.pointer.md5, folder)
