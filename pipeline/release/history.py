"""What was released when, and the way back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import ReleaseError
from pipeline.release.registry import (
    CHAMPION,
    EVENT_TAG,
    PREVIOUS,
    aliased_version,
    move_champion,
)
from pipeline.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ReleasedVersion:
    """One version of the registered model; empty where it was not released by this project."""

    version: str
    aliases: list[str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Move:
    """One move of the alias `champion`."""

    time: str
    action: str
    from_version: str | None
    to_version: str


def list_releases(
    settings: Settings, client: MlflowClient
) -> tuple[list[ReleasedVersion], list[Move]]:
    """Return the versions, newest first, and the moves of `champion`, oldest first."""
    models = client.search_registered_models(f"name = '{settings.model_name}'")
    if not models:
        return [], []
    versions = client.search_model_versions(f"name = '{settings.model_name}'")
    releases = [
        ReleasedVersion(
            str(one.version),
            sorted(
                a for a, version in models[0].aliases.items() if str(version) == str(one.version)
            ),
            dict(one.tags),
        )
        for one in sorted(versions, key=lambda one: int(one.version), reverse=True)
    ]
    return releases, [
        _move(key, value)
        for key, value in sorted(models[0].tags.items())
        if key.startswith(EVENT_TAG)
    ]


def _move(key: str, value: str) -> Move:
    event = json.loads(value)
    return Move(key.removeprefix(EVENT_TAG), event["action"], event["from"], event["to"])


def rollback(settings: Settings, client: MlflowClient, to: str | None) -> Move:
    """Make `previous`, or the version `to`, the champion again; raises ReleaseError."""
    name = settings.model_name
    champion = aliased_version(client, name, CHAMPION)
    target = to or _previous(client, name)
    if not target.isdigit():
        raise ReleaseError(f"--to {target}: expected the number of a version")
    if not client.search_model_versions(f"name = '{name}' and version_number = {int(target)}"):
        raise ReleaseError(f"{name}: has no version {target}; see `lungseg releases`")
    current = str(champion.version) if champion else None
    if current == target:
        raise ReleaseError(f"{name}: version {target} is the champion already")
    move_champion(client, name, target, current, "rollback")
    return list_releases(settings, client)[1][-1]


def _previous(client: MlflowClient, name: str) -> str:
    version = aliased_version(client, name, PREVIOUS)
    if version is None:
        raise ReleaseError(f"{name}: has no version before the champion; see `lungseg releases`")
    return str(version.version)
