"""The model registry: versions, their aliases, and released models fetched from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError
from pipeline.inference.released import ReleasedModel, verify_model
from pipeline.settings import Settings
from pipeline.tracking.client import connect
from pipeline.tracking.rest import MlflowServer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
EVENT_TAG = "release."
"""Of the registered model: a move of the champion, by its number, before 0.3 by its time."""


def aliased_version(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version behind an alias; None when there is no such model or alias.

    Raises ReleaseError when the alias points to a version that is gone.
    """
    models = client.search_registered_models(f"name = '{name}'")
    version = models[0].aliases.get(alias) if models else None
    if version is None:
        return None
    found = client.search_model_versions(f"name = '{name}' and version_number = {version}")
    if not found:
        raise ReleaseError(
            f"{name}: alias {alias} points to version {version}, which is gone; choose another "
            "with `lungseg rollback --to VERSION`",
        )
    return found[0]


def download_model(uri: str, folder: Path) -> Path:
    """Download the model behind an MLflow address to a folder of its own below `folder`."""
    import mlflow

    target = folder / uri.partition(":/")[2].replace("/", "_")
    target.mkdir()
    return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target)))


def fetch_model(uri: str, tags: Mapping[str, str], folder: Path, name: str = "") -> ReleasedModel:
    """Download the model behind an MLflow address and verify it against its recorded `tags`.

    `name` is what an error calls it, by default the address. Raises ReleaseError, before anything
    of the model is opened, when it is not what was recorded.
    """
    return verify_model(download_model(uri, folder), tags, name or uri)


@dataclass(frozen=True)
class Release:
    """A released model with what its release recorded of it."""

    model: ReleasedModel
    threshold: float
    """The probability from which a pixel is lung."""


def fetch_release(settings: Settings, uri: str, folder: Path) -> Release:
    """Fetch and verify the model of `models:/<name>@<alias>` or `models:/<name>/<version>`.

    Raises ReleaseError, before anything of the model is opened, when there is none or it is not
    the one that was released.
    """
    named = re.fullmatch(r"models:/([^/@']+)(?:@([^/@']+)|/(\d+))", uri)
    if named is None:
        raise ReleaseError(f"{uri}: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    # Without MLflow's client where that can be: importing it takes longer than all the rest.
    name, alias, number = named.groups()
    with MlflowServer(settings.tracking_uri, login=settings.tracking_login) as server:
        found = server.fetch_model(name, alias, number, folder)
    if found:
        number, tags, downloaded = found
        called = f"{name} version {number}"
        return Release(verify_model(downloaded, tags, called), _threshold(tags, called))
    with connect(settings) as client:
        version = _find_version(client, name, alias, number)
        if version is None:
            raise ReleaseError(f"{uri}: nothing released under it; see `lungseg releases`")
        return fetch_version(version, folder)


def _threshold(tags: Mapping[str, str], name: str) -> float:
    try:
        return float(tags["threshold"])
    except (KeyError, ValueError):
        raise ReleaseError(
            f"{name}: found the tag threshold {tags.get('threshold')!r}, expected the probability "
            "from which a pixel is lung; use a version that `lungseg releases` lists",
        ) from None


def _find_version(
    client: MlflowClient, name: str, alias: str | None, number: str | None
) -> ModelVersion | None:
    if alias:
        return aliased_version(client, name, alias)
    found = client.search_model_versions(f"name = '{name}' and version_number = {number}")
    return found[0] if found else None


def fetch_version(
    version: ModelVersion, folder: Path, recorded: Mapping[str, str] | None = None
) -> Release:
    """Download a version of a registered model and verify it against what was recorded of it.

    That is `recorded`, by default the version's tags. Raises ReleaseError before anything of a
    changed model is opened.
    """
    called, tags = f"{version.name} version {version.version}", recorded or version.tags
    model = fetch_model(f"models:/{version.name}/{version.version}", tags, folder, called)
    return Release(model, _threshold(tags, called))
