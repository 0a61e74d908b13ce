"""Predicting in one of the conventions that a network knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.inference.predictor import Predictor
from pipeline.inference.pyfunc import LungSegmenter
from pipeline.params import Params
from tests.model.told_networks import NAMES, SIDE, told, trained, write_network

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70), np.uint8)
SMALL = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint8)


@pytest.fixture(scope="module")
def network(params: Params) -> Any:
    return trained(params, 3, deep_supervision=True)


@pytest.fixture(scope="module")
def path(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(network, tmp_path_factory.mktemp("told"), NAMES) / "model.onnx"


@pytest.fixture(scope="module")
def one(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one convention of another name."""
    folder = tmp_path_factory.mktemp("one")
    return write_network(trained(params, 1), folder, ("heart",)) / "model.onnx"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_radiograph_is_answered_in_its_own_convention(
    network: Any, path: Path, level: int
) -> None:
    from pipeline.model.unetpp import pruned

    predictor = Predictor(path, level)
    part = pruned(network, level) if level else network
    inputs = [SMALL[None, ..., None].astype(np.float32).repeat(3, 0), told(2, 0, 1, conventions=3)]

    found = predictor.predict([SMALL] * 3, None, ["wide", "standard", "heart"])

    assert predictor.conventions == NAMES
    np.testing.assert_allclose(found, part.predict_on_batch(inputs)[..., 0], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_the_default_is_the_first(path: Path) -> None:
    predictor = Predictor(path)

    (found,) = predictor.predict([IMAGE])

    np.testing.assert_array_equal(found, predictor.predict([IMAGE], None, ["standard"])[0])


@pytest.mark.parametrize("name", ["lungs", "", "Heart", "a\nb"])
def test_an_unknown_convention_is_refused_with_those_that_are_known(path: Path, name: str) -> None:
    with pytest.raises(StageError, match=r"expected one .*: standard, heart, wide; ask") as info:
        Predictor(path).predict([IMAGE] * 2, None, ["heart", name])
    assert "\n" not in str(info.value)


def test_a_network_of_one_convention_says_its_name(one: Path) -> None:
    predictor = Predictor(one)

    assert predictor.conventions == ("heart",)
    (found,) = predictor.predict([IMAGE])
    np.testing.assert_array_equal(predictor.predict([IMAGE], None, ["heart"])[0], found)
    with pytest.raises(StageError, match=r"found 'standard', expected one .*: heart; ask for one"):
        predictor.predict([IMAGE], None, ["standard"])


def test_the_model_in_mlflow_answers_in_the_convention_that_its_params_name(path: Path) -> None:
    model, predictor = LungSegmenter(path), Predictor(path, 1)
    images = np.stack([IMAGE, IMAGE[::-1]])

    for name in NAMES:
        found = model.predict(images, {"level": 1, "convention": name})
        np.testing.assert_array_equal(found, predictor.predict(list(images), None, [name] * 2))
    np.testing.assert_array_equal(model.predict(images), Predictor(path).predict(list(images)))
    with pytest.raises(StageError, match=r"found 'lungs', expected one .*: standard, heart, wide"):
        model.predict(images, {"convention": "lungs"})
