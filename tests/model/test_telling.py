"""A network that is told which convention it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.params import Params
from tests.model.told_networks import SIDE, build, told, trained

RADIOGRAPHS = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 1)).astype(np.float32)
TELLING = ("_shift", "_shift_each", "_told")
"""How the names of layers end that a network has to be told by."""
NETWORKS: list[Any] = [
    {},
    {"deep_supervision": True},
    {"filters": [4, 6], "deep_supervision": True},
    pytest.param({"encoder": "efficientnetlite0", "encoder_weights": None}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("changes", NETWORKS)
def test_a_told_network_begins_as_the_one_that_is_not_told(
    params: Params, changes: dict[str, Any]
) -> None:
    plain, network = build(params, **changes), build(params, 3, **changes)

    expected = plain.predict_on_batch(RADIOGRAPHS)
    for place in range(3):
        asked = told(place, place, conventions=3)
        np.testing.assert_array_equal(network.predict_on_batch([RADIOGRAPHS, asked]), expected)


def test_of_one_convention_a_network_has_nothing_more(params: Params) -> None:
    plain, network = build(params), build(params, 2)

    assert [one.name for one in plain.inputs] == ["radiograph"]
    assert [one.name for one in network.inputs] == ["radiograph", "convention"]
    assert network.inputs[1].shape == (None, 2)
    assert [layer.name for layer in plain.layers] == [
        layer.name
        for layer in network.layers
        if layer.name != "convention" and not layer.name.endswith(TELLING)
    ]
    assert plain.count_params() == 4367  # as before there were conventions
    # Neither does it draw other weights.
    kept = {weight.path: np.asarray(weight) for weight in network.weights}
    for weight in plain.weights:
        np.testing.assert_array_equal(np.asarray(weight), kept[weight.path])


@pytest.mark.parametrize("changes", NETWORKS)
def test_each_answer_is_in_the_convention_that_it_is_asked_for(
    params: Params, changes: dict[str, Any]
) -> None:
    network = trained(params, **changes)
    same = np.repeat(RADIOGRAPHS[:1], 2, axis=0)

    both = network.predict_on_batch([same, told(0, 1)])
    first = network.predict_on_batch([same, told(0, 0)])

    assert np.abs(both[0] - both[1]).max() > 1e-3
    np.testing.assert_allclose(first[0], both[0], atol=1e-6)
    np.testing.assert_allclose(first[1], both[0], atol=1e-6)


def test_every_head_is_told(params: Params) -> None:
    from pipeline.model.unetpp import pruned, supervised

    network = trained(params, deep_supervision=True)

    heads = [supervised(network).predict_on_batch([RADIOGRAPHS, told(k, k)]) for k in (0, 1)]

    for level in (1, 2):
        answers = [
            pruned(network, level).predict_on_batch([RADIOGRAPHS, told(k, k)]) for k in (0, 1)
        ]
        assert np.abs(answers[0] - answers[1]).max() > 1e-3
        for head, answer in zip(heads, answers, strict=True):
            np.testing.assert_allclose(head[..., level - 1 : level], answer, atol=1e-5)


def test_what_is_told_is_trained(params: Params) -> None:
    from pipeline.model.unetpp import supervised

    network = build(params, 2, deep_supervision=True)
    form = supervised(network)
    form.compile(optimizer="adam", loss="mse")
    truth = np.stack([np.zeros((SIDE, SIDE, 2)), np.ones((SIDE, SIDE, 2))])

    form.train_on_batch([RADIOGRAPHS, told(0, 1)], truth)

    same = np.repeat(RADIOGRAPHS[:1], 2, axis=0)
    answers = network.predict_on_batch([same, told(0, 1)])
    assert np.abs(answers[0] - answers[1]).max() > 0


PREDICT_WITHOUT_THIS_CODE = """
import sys
import keras, numpy
network = keras.models.load_model(sys.argv[1], safe_mode=True)
assert not any(name.startswith("pipeline") for name in sys.modules)
given = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], network.predict_on_batch([given["radiographs"], given["told"]]))
"""


@pytest.mark.slow
def test_a_saved_network_answers_the_same_in_safe_mode_without_this_code(
    params: Params, tmp_path: Path
) -> None:
    from pipeline.model.keras_file import load_network, save_network

    network = trained(params, deep_supervision=True)
    save_network(network, tmp_path / "model.keras")
    np.savez(tmp_path / "given.npz", radiographs=RADIOGRAPHS, told=told(0, 1))
    paths = [str(tmp_path / name) for name in ("model.keras", "given.npz", "lung.npy")]

    command = [sys.executable, "-I", "-c", PREDICT_WITHOUT_THIS_CODE, *paths]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    expected = network.predict_on_batch([RADIOGRAPHS, told(0, 1)])
    np.testing.assert_array_equal(np.load(tmp_path / "lung.npy"), expected)
    again = load_network(tmp_path / "model.keras").predict_on_batch([RADIOGRAPHS, told(0, 1)])
    np.testing.assert_array_equal(again, expected)
