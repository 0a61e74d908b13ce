"""Files of Keras' own format: equal for equal networks, and looked through before they are loaded.

A `.keras` file is a zip archive of a configuration that names classes, and of weights in HDF5.
Keras builds what the configuration names and follows the links of the weights, so both are read
here first, without building or following anything.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.inference.graph import TOLD

if TYPE_CHECKING:
    import keras

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold."""

LARGEST = {"config.json": 2**25, "metadata.json": 2**16, "model.weights.h5": 2**31}
"""Bytes that a member may have; there are no other members."""

MODULES = ("keras", "keras.constraints", "keras.initializers", "keras.layers", "keras.regularizers")
"""Where a class of a network may come from."""

DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError)
"""What reading a damaged or made-up file ends in."""

FOREIGN_LAYERS = (
    *("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"),  # hold or load code
    *("HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"),  # may read files
)


def save_network(network: keras.Model, path: Path) -> None:
    """Save `network` in Keras' own format, without what differs between equal networks.

    That is the time of saving and the memory addresses that Keras marks shared objects with.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "network.keras")
        network.save(saved)
        _normalise(saved, path)


def load_network(path: Path) -> keras.Model:
    """The network that `save_network` saved, for training on.

    Raises StageError, before Keras sees anything of it, for a file that is damaged, names classes
    other than Keras' own or code, holds links or more than it should, or is a network for other
    inputs than (None, S, S, 1) and, where it is told its convention, (None, C).
    """
    try:
        content = path.read_bytes()
        _check_members(content)
    except (*DAMAGE, zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise _unusable(path, " ".join(str(error).split())[:200]) from None

    import keras

    with tempfile.TemporaryDirectory() as folder:
        # What was looked through is loaded, whatever happens to the file meanwhile.
        checked = Path(folder, "model.keras")
        checked.write_bytes(content)
        try:
            with warnings.catch_warnings():
                # Keras would go on with random weights where the file has none.
                warnings.filterwarnings("error", "Skipping", UserWarning)
                return keras.models.load_model(checked, compile=False, safe_mode=True)
        except (*DAMAGE, UserWarning) as error:
            raise _unusable(path, " ".join(str(error).split())[:200]) from None


def foreign_parts(config: Any) -> Iterator[str]:
    """The classes of a configuration that Keras alone would not build, or that hold code."""
    for part in _parts(config):
        name, module = str(part["class_name"]), part.get("module")
        if name == "__keras_tensor__" or (name, module) == (
            "Functional",
            "keras.src.models.functional",
        ):
            continue
        if part.get("registered_name") or module not in MODULES or name in FOREIGN_LAYERS:
            yield name


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object within a configuration."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _parts(value)


def _unusable(path: Path, reason: str) -> StageError:
    return StageError(
        f"{path}: not a network of the stage train ({reason}); train it again or pull it from its "
        "source",
    )


def _check_members(content: bytes) -> None:
    """Raise ValueError or BadZipFile for an archive that Keras should not see."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = sorted(archive.namelist())
        if names != sorted(LARGEST):
            raise ValueError(f"it holds {', '.join(names[:5])}, expected {', '.join(LARGEST)}")
        for member in archive.infolist():
            # Stored as it is, so no member can be larger than the file says it is.
            stored = member.compress_type == zipfile.ZIP_STORED
            if not stored or member.file_size > LARGEST[member.filename]:
                raise ValueError(
                    f"{member.filename} is compressed or declares {member.file_size} bytes, "
                    f"expected it stored, of at most {LARGEST[member.filename]}",
                )
        json.loads(archive.read("metadata.json"))
        _check_config(json.loads(archive.read("config.json")))
        _check_weights(archive.read("model.weights.h5"))


def _check_config(config: Any) -> None:
    foreign = next(foreign_parts(config), None)
    if foreign:
        raise ValueError(f"it holds {foreign}, expected only layers of Keras without code")
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise ValueError("its configuration is not one of a functional network")
    layers = config.get("config", {}).get("layers", [])
    inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
    told = [one["batch_shape"] for one in inputs if one["name"] == TOLD]
    shapes = [one["batch_shape"] for one in inputs if one["name"] != TOLD]
    side = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 4 else None
    if not side or shapes != [[None, side, side, 1]] or not _tells_of_several(told):
        raise ValueError(
            f"it takes {[*shapes, *told]}, expected one input (None, S, S, 1) with one S, and "
            f"where there are several conventions {TOLD} (None, C)"
        )


def _tells_of_several(told: list[Any]) -> bool:
    """Whether these are the shapes of the input that tells the convention, which may be missing."""
    count = told[0][1] if len(told) == 1 and len(told[0]) == 2 else 0
    return not told or (told == [[None, count]] and isinstance(count, int) and count > 1)


def _check_weights(content: bytes) -> None:
    import h5py  # type: ignore[import-untyped]

    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ValueError("its weights are not HDF5")
    with h5py.File(io.BytesIO(content), "r") as file:
        _check_group(file, set())


def _check_group(group: Any, seen: set[int]) -> None:
    """Refuse links, and data sets that are not plain numbers lying in the file itself."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its weights {group.name}/{name} are a link")
        entry = group[name]
        address = h5py.h5o.get_info(entry.id).addr
        if address in seen:
            raise ValueError(f"its weights {entry.name} are a link")
        seen.add(address)
        if isinstance(entry, h5py.Group):
            _check_group(entry, seen)
        elif not _is_plain(entry):
            raise ValueError(f"its weights {entry.name} are not numbers stored in the file")


def _is_plain(entry: Any) -> bool:
    import h5py

    if not isinstance(entry, h5py.Dataset) or entry.external or entry.is_virtual:
        return False
    numbers = entry.dtype.kind in "fiub" and entry.dtype.metadata is None
    # A data set can declare any shape and store nothing of it.
    return numbers and int(entry.id.get_storage_size()) == int(entry.nbytes)


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
