from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.model.predictor import fit_radiograph
from pipeline.params import Params

SIDE = 32


@pytest.fixture(scope="module")
def predictor(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pipeline.model.archive import save_network
    from pipeline.model.predictor import Predictor
    from pipeline.model.unetpp import build_unetpp

    path = tmp_path_factory.mktemp("network") / "model.keras"
    save_network(build_unetpp(SIDE, params.train.model_copy(update={"filters": [4, 6]})), path)
    return Predictor(path)


def radiograph(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_radiographs_are_shrunk_by_averaging_areas() -> None:
    assert fit_radiograph(np.array([[0, 100], [100, 200]], np.uint8), 1).tolist() == [[100]]


@pytest.mark.slow
def test_answers_have_the_size_of_each_radiograph(predictor: Any) -> None:
    images = [radiograph(32, 32), radiograph(50, 70), radiograph(20, 31)]

    found = predictor.predict(images, batch_size=2)

    assert [lung.shape for lung in found] == [(32, 32), (50, 70), (20, 31)]
    assert {lung.dtype for lung in found} == {np.dtype("float32")}
    assert all(0 <= lung.min() <= lung.max() <= 1 for lung in found)


@pytest.mark.slow
def test_answers_have_the_size_that_is_asked_for(predictor: Any) -> None:
    (own,) = predictor.predict([radiograph(50, 70)], [(SIDE, SIDE)])
    (found,) = predictor.predict([radiograph(50, 70)], [(40, 45)])

    np.testing.assert_array_equal(found, cv2.resize(own, (45, 40)))


@pytest.mark.slow
def test_the_size_of_a_batch_does_not_change_the_answer(predictor: Any) -> None:
    images = [radiograph(30, 30) // (1 + i) for i in range(5)]

    one, many = predictor.predict(images, batch_size=1), predictor.predict(images, batch_size=4)

    np.testing.assert_allclose(one, many, atol=1e-5)


@pytest.mark.slow
def test_no_radiographs_give_no_answers(predictor: Any) -> None:
    assert predictor.predict([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    from pipeline.model.predictor import Predictor

    path = tmp_path / "model.keras"
    path.write_bytes(content)

    with pytest.raises(StageError, match=r"model\.keras: not a network that Keras loads"):
        Predictor(path)


@pytest.mark.slow
def test_a_network_with_code_in_it_is_refused(tmp_path: Path) -> None:
    import keras

    from pipeline.model.predictor import Predictor

    radiographs = keras.Input((8, 8, 1))
    hidden = keras.layers.Lambda(lambda pixels: pixels)(radiographs)
    keras.Model(radiographs, hidden).save(tmp_path / "model.keras")

    with pytest.raises(StageError, match="not a network that Keras loads in safe mode"):
        Predictor(tmp_path / "model.keras")


@pytest.mark.slow
def test_a_network_for_another_kind_of_input_is_refused(tmp_path: Path) -> None:
    import keras

    from pipeline.model.predictor import Predictor

    colour = keras.Input((8, 8, 3))
    keras.Model(colour, keras.layers.ReLU()(colour)).save(tmp_path / "model.keras")

    with pytest.raises(StageError, match=r"takes \(None, 8, 8, 3\), expected \(None, S, S, 1\)"):
        Predictor(tmp_path / "model.keras")
