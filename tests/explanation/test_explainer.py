from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.inference.predictor import Predictor
from tests.conftest import draw_pair
from tests.explanation.darkness import CHANNELS, SIDE, darkness, save

IMAGE, MASK = draw_pair(3, 2 * SIDE)
RADIOGRAPH = np.asarray(IMAGE)
LUNG = (np.asarray(MASK.convert("L")) > 0).astype(np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(darkness(), tmp_path_factory.mktemp("explained") / "network")


def explain(folder: Path, prediction: NDArray[np.uint8], threshold: float = 0.5):  # type: ignore[no-untyped-def]
    from pipeline.explanation.explainer import Explainer

    return Explainer(folder, threshold).explain(RADIOGRAPH, prediction)


@pytest.mark.slow
def test_maps_of_a_network_that_marks_what_is_dark_lie_on_what_is_dark(network: Path) -> None:
    found = explain(network, LUNG)

    assert [one.method for one in found] == ["occlusion", "seg_grad_cam"]
    for one in found:
        assert one.passed, one.sentence
        assert one.picture is not None
        assert one.picture.shape == (640, 640, 3)
        assert np.isfinite(list(one.checks.values())).all()
        assert one.checks["agreement"] > 0.95
        assert f"{one.checks['lung_or_border_share']:.0%} of the map lies in the" in one.sentence
    occlusion, cam = found
    assert occlusion.checks["border_share"] > occlusion.checks["lung_share"]  # dark beside dark
    assert cam.checks["lung_share"] > 0.9


@pytest.mark.slow
def test_the_same_is_said_each_time(network: Path) -> None:
    one, other = explain(network, LUNG), explain(network, LUNG)

    for first, second in zip(one, other, strict=True):
        assert (first.sentence, first.checks) == (second.sentence, second.checks)
        assert np.array_equal(first.picture, second.picture)


@pytest.mark.slow
def test_maps_of_a_network_with_shuffled_weights_are_left_out(tmp_path: Path) -> None:
    from pipeline.explanation.shuffled import shuffle_network

    folder = save(shuffle_network(darkness(), seed=9), tmp_path / "shuffled")

    for one in explain(folder, LUNG):
        assert not one.passed
        assert one.picture is None
        assert "is left out: the network does not give this prediction" in one.sentence


@pytest.mark.slow
def test_a_map_that_shuffled_weights_give_too_is_left_out(tmp_path: Path) -> None:
    network = darkness()
    values = 1 / 9, -0.5, 1 / CHANNELS, 0, 30 / CHANNELS, -1  # equal weights stay what they are
    network.set_weights(
        [np.full_like(one, value) for one, value in zip(network.get_weights(), values, strict=True)]
    )

    found = explain(save(network, tmp_path / "equal"), LUNG)

    for one in found:
        assert one.checks["rank_correlation"] > 0.99
        assert "left out: the map of a network with shuffled weights is too similar" in one.sentence


@pytest.mark.slow
def test_an_answer_is_explained_in_the_convention_it_was_given_in(tmp_path: Path) -> None:
    from pipeline.explanation.explainer import Explainer

    names = ("standard", "bright")
    explainer = Explainer(save(darkness(2), tmp_path / "told", names), 0.5)

    for name, mask in (("standard", LUNG), ("bright", 1 - LUNG), ("unknown", LUNG)):
        own = explainer.explain(RADIOGRAPH, mask, name)
        other = explainer.explain(RADIOGRAPH, 1 - mask, name)
        assert all(one.checks["agreement"] > 0.95 for one in own)
        assert all(one.checks["agreement"] < 0.05 for one in other)
        assert own[0].checks["largest_drop"] > 0.005
        assert own[1].checks["lung_share"] > own[1].checks["lung_area"]


@pytest.mark.slow
def test_a_mask_is_explained_at_the_threshold_it_was_made_with(network: Path) -> None:
    (lung,) = Predictor(network / "model.onnx").predict([RADIOGRAPH])
    threshold = float(np.median(lung[lung >= 0.5]))  # the other half is less sure
    mask = (lung >= threshold).astype(np.uint8)

    assert all(one.checks["agreement"] > 0.9 for one in explain(network, mask, threshold))
    assert all(one.checks["agreement"] < 0.8 for one in explain(network, mask))


@pytest.mark.slow
def test_without_a_prediction_there_is_nothing_to_explain(network: Path) -> None:
    found = explain(network, np.zeros_like(LUNG))

    assert [(one.passed, one.picture, dict(one.checks)) for one in found] == [(False, None, {})] * 2
    assert found[0].sentence == "There is no occlusion map: nothing is marked."


@pytest.mark.slow
def test_on_another_engine_than_tensorflow_one_map_is_left_out(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")

    occlusion, cam = explain(network, LUNG)

    assert occlusion.passed
    assert (cam.passed, cam.picture, dict(cam.checks)) == (False, None, {})
    assert cam.sentence == (
        "The Seg-Grad-CAM map is left out: it needs Keras on TensorFlow, found jax."
    )


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no network")

    with pytest.raises(StageError, match="not a network that the stage train exported"):
        explain(tmp_path, LUNG)
