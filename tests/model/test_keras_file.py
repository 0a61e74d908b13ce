from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.keras_file import foreign_parts, load_network, save_network
from pipeline.params import Params

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def network(params: Params) -> Any:
    from pipeline.model.unetpp import build_unetpp

    return build_unetpp(16, params.train.model_copy(update={"filters": [2, 3]}))


@pytest.fixture(scope="module")
def members(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Members:
    path = tmp_path_factory.mktemp("network") / "model.keras"
    save_network(network, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def refusal(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """The message that a file is refused with, before Keras sees it."""
    import keras

    def opened(*arguments: Any, **options: Any) -> None:
        pytest.fail("Keras got the file")

    monkeypatch.setattr(keras.models, "load_model", opened)
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(StageError, match=r"model\.keras: not a network of the stage") as info:
        load_network(path)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_saved_network_loads_with_the_same_answers(network: Any, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model.keras")
    radiographs = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1)).astype(np.float32)

    found = load_network(tmp_path / "model.keras").predict_on_batch(radiographs)

    np.testing.assert_array_equal(found, network.predict_on_batch(radiographs))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenetv2", "efficientnetlite0"])
def test_a_network_with_a_backbone_loads_again(
    params: Params, tmp_path: Path, encoder: str
) -> None:
    from pipeline.model.unetpp import build_unetpp

    small = {"encoder": encoder, "filters": [2, 3, 4]}
    save_network(build_unetpp(32, params.train.model_copy(update=small)), tmp_path / "model.keras")

    assert load_network(tmp_path / "model.keras").input_shape == (None, 32, 32, 1)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip file"),
        (b"<!DOCTYPE html>", "not a zip file"),
        (pickle.dumps([1, 2]), "not a zip file"),
        (b"PK\x03\x04 cut short", "not a zip file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "not a zip file"),
        (b"\x08\x08:\x07lungseg", "not a zip file"),  # the start of an ONNX file
        (npz(), "it holds weights.npy, expected config.json"),
    ],
    ids=["empty", "html", "pickle", "start of a zip", "hdf5", "onnx", "npz"],
)
def test_a_file_that_is_no_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    assert reason in refusal(tmp_path, content, monkeypatch)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="No such file"):
        load_network(tmp_path / "model.keras")


def test_a_truncated_network_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = packed(members)

    for length in (len(content) // 3, len(content) - 1):
        assert "not a zip file" in refusal(tmp_path, content[:length], monkeypatch)


def test_a_changed_byte_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(packed(members))
    content[content.index(b"HDF") + 300] ^= 1

    assert "Bad CRC-32" in refusal(tmp_path, bytes(content), monkeypatch)


@pytest.mark.parametrize("name", ["assets/vocabulary.txt", "model.weights.npz", "../evil", "x.pkl"])
def test_a_further_member_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert name in refusal(tmp_path, packed(members | {name: b"more"}), monkeypatch)


def test_a_pickle_instead_of_weights_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = packed(members | {"model.weights.h5": pickle.dumps([1, 2])})

    assert "its weights are not HDF5" in refusal(tmp_path, pickled, monkeypatch)


def test_a_zip_bomb_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = members | {"config.json": b" " * 2**24 + members["config.json"]}

    assert "compressed" in refusal(tmp_path, packed(bomb, zipfile.ZIP_DEFLATED), monkeypatch)


def test_a_member_that_declares_too_much_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = members | {"metadata.json": b" " * 2**17 + members["metadata.json"]}

    assert "metadata.json is compressed or declares 13" in refusal(
        tmp_path, packed(big), monkeypatch
    )


def test_a_member_given_twice_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO(packed(members))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")

    assert "it holds config.json, config.json" in refusal(tmp_path, file.getvalue(), monkeypatch)


Part = dict[str, Any]


def layer(**changes: Any) -> Part:
    made = {"module": "keras.layers", "class_name": "ReLU", "config": {}, "registered_name": None}
    return {**made, **changes}


@pytest.mark.parametrize(
    "part",
    [
        layer(class_name="Lambda"),
        layer(class_name="TFSMLayer", config={"filepath": "/evil"}),
        layer(class_name="TorchModuleWrapper"),
        layer(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
        layer(class_name="__lambda__", module="builtins"),
        layer(class_name="function", module="os", config="system", registered_name="function"),
        layer(class_name="Evil", module="evil", registered_name="Custom>Evil"),
        layer(registered_name="Custom>ReLU"),
        layer(module="keras_evil.layers"),
        layer(module="keras.src.utils.file_utils", class_name="get_file"),
        layer(module=None),
        {"class_name": "ReLU"},
    ],
    ids=lambda part: part["class_name"],
)
def test_a_configuration_with_code_or_foreign_classes_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Part
) -> None:
    config = json.loads(members["config.json"])
    config["config"]["layers"][-1]["config"]["hidden"] = [part]
    changed = packed(members | {"config.json": json.dumps(config).encode()})

    assert f"it holds {part['class_name']}" in refusal(tmp_path, changed, monkeypatch)


def test_a_network_that_holds_a_lambda_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    radiographs = keras.Input((8, 8, 1))
    hidden = keras.layers.Lambda(lambda pixels: pixels)(radiographs)
    keras.Model(radiographs, hidden).save(tmp_path / "model.keras")

    content = (tmp_path / "model.keras").read_bytes()
    assert "it holds Lambda" in refusal(tmp_path, content, monkeypatch)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "not one of a functional network"),
        (
            b'{"module": "keras", "class_name": "Sequential", "config": {}}',
            "not one of a functional",
        ),
        (b"[" * 100_000, "recursion"),
        (b'{"module": "keras", "class_name": "Functional", "config": []}', "no attribute"),
        (
            b'{"module": "keras", "class_name": "Functional", "config": {"layers": [{}]}}',
            "class_name",
        ),
    ],
)
def test_a_configuration_of_something_else_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: bytes, reason: str
) -> None:
    changed = packed(members | {"config.json": config})

    assert reason in refusal(tmp_path, changed, monkeypatch)


@pytest.mark.parametrize("shape", [[None, 8, 8, 3], [None, 8, 16, 1], [None, None, None, 1], [8]])
def test_a_network_for_another_input_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[Any]
) -> None:
    config = json.loads(members["config.json"])
    config["config"]["layers"][0]["config"]["batch_shape"] = shape
    changed = packed(members | {"config.json": json.dumps(config).encode()})

    assert "expected one input (None, S, S, 1)" in refusal(tmp_path, changed, monkeypatch)


@pytest.mark.parametrize(
    "told", [[[None, 1]], [[None, None]], [[None, "2"]], [[2, 2]], [[None, 2]] * 2, [[None, 2, 1]]]
)
def test_a_network_that_is_told_otherwise_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    config = json.loads(members["config.json"])
    first = config["config"]["layers"][0]
    for shape in told:
        more = {**first["config"], "name": "convention", "batch_shape": shape}
        config["config"]["layers"].append({**first, "config": more})
    changed = packed(members | {"config.json": json.dumps(config).encode()})

    assert "several conventions convention (None, C)" in refusal(tmp_path, changed, monkeypatch)


def test_a_second_input_of_another_name_is_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads(members["config.json"])
    config["config"]["layers"].append(config["config"]["layers"][0])
    changed = packed(members | {"config.json": json.dumps(config).encode()})

    assert "expected one input (None, S, S, 1)" in refusal(tmp_path, changed, monkeypatch)


def external_link(file: h5py.File) -> None:
    file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["layers/stolen"] = h5py.SoftLink("/vars")


def cycle(file: h5py.File) -> None:
    file["layers/self"] = file["layers"]


def external_storage(file: h5py.File) -> None:
    file.create_dataset("stolen", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "weights", (4,))
    file.create_virtual_dataset("stolen", layout)


def declared_only(file: h5py.File) -> None:
    file.create_dataset("bomb", (2**20, 2**20), "f4", chunks=(1024, 1024))


def compressed(file: h5py.File) -> None:
    file.create_dataset("bomb", data=np.zeros((1024, 1024), "f4"), compression="gzip")


def text(file: h5py.File) -> None:
    file.create_dataset("pickle", data=[pickle.dumps([1]).hex()])


def opaque(file: h5py.File) -> None:
    file.create_dataset("pickle", data=np.void(pickle.dumps([1])))


def named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        *((damage, "are a link") for damage in (external_link, soft_link, cycle)),
        *((damage, "are not numbers stored") for damage in (external_storage, virtual)),
        *((damage, "are not numbers stored") for damage in (declared_only, compressed)),
        *((damage, "are not numbers stored") for damage in (text, opaque, named_type)),
    ],
)
def test_weights_that_are_not_numbers_in_the_file_are_refused(
    members: Members,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[h5py.File], None],
    reason: str,
) -> None:
    weights = io.BytesIO(members["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        damage(file)
    changed = packed(members | {"model.weights.h5": weights.getvalue()})

    assert reason in refusal(tmp_path, changed, monkeypatch)


def test_damaged_weights_are_refused(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = packed(members | {"model.weights.h5": members["model.weights.h5"][:200]})

    assert "truncated" in refusal(tmp_path, cut, monkeypatch)


def test_weights_of_another_network_are_refused(members: Members, tmp_path: Path) -> None:
    empty = io.BytesIO()
    with h5py.File(empty, "w") as file:
        file.create_group("layers")
    path = tmp_path / "model.keras"
    path.write_bytes(packed(members | {"model.weights.h5": empty.getvalue()}))

    with pytest.raises(StageError, match=r"model\.keras: not a network of the stage train"):
        load_network(path)


def test_layers_of_keras_are_not_foreign(network: Any) -> None:
    assert list(foreign_parts(network.get_config())) == []
