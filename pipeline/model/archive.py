"""Saving a network so that equal networks are equal files."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold."""


def save_network(network: keras.Model, path: Path) -> None:
    """Save `network` in Keras' own format, without what differs between equal networks.

    That is the time of saving and the memory addresses that Keras marks shared objects with.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "network.keras")
        network.save(saved)
        _normalise(saved, path)


def _normalise(saved: Path, path: Path) -> None:
    clean = {"metadata.json": _undated, "config.json": _renumbered}
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in sorted(source.namelist()):
            content = clean.get(name, bytes)(source.read(name))
            target.writestr(zipfile.ZipInfo(name, FIXED_TIME), content)


def _undated(metadata: bytes) -> bytes:
    kept = {key: value for key, value in json.loads(metadata).items() if key != "date_saved"}
    return json.dumps(kept).encode()


def _renumbered(config: bytes) -> bytes:
    numbers: dict[int, int] = {}

    def renumber(part: dict[str, Any]) -> dict[str, Any]:
        if "shared_object_id" in part:
            old = part["shared_object_id"]
            part["shared_object_id"] = numbers.setdefault(old, len(numbers) + 1)
        return part

    return json.dumps(json.loads(config, object_hook=renumber)).encode()
