"""The files of a trained network, and the hash that names it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.errors import StageError
from pipeline.files import sha256_file

MODEL_FILES = ("model.keras", "model.onnx")
"""The network, to train on from and to predict with."""


def model_sha256(folder: Path) -> str:
    """One hash for both files of the network in `folder`, as `sha256sum` would list them.

    Raises StageError when one is missing.
    """
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise StageError(
            f"{folder / missing[0]}: no such file, expected the network as "
            f"{' and '.join(MODEL_FILES)}; run the stage train",
        )
    lines = sorted(f"{sha256_file(folder / name)}  {name}\n" for name in MODEL_FILES)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
