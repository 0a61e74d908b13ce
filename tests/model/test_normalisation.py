from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BATCH = np.random.default_rng(0).normal(3, 2, (2, 4, 4, 5)).astype(np.float32)


def network(**options: Any) -> Any:
    import keras

    inputs = keras.Input((4, 4, 5))
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm", **options)(inputs)
    model = keras.Model(inputs, keras.layers.ReLU()(norm))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def step(model: Any, trained: Any) -> list[Any]:
    """The weights of `model` after `trained`, a form of it, went down a slope once."""
    trained.compile(optimizer="sgd", loss="mse")
    trained.train_on_batch(BATCH, np.zeros_like(BATCH))
    return list(model.get_weights())


def test_a_fused_network_learns_what_the_network_itself_would() -> None:
    from pipeline.model.normalisation import fused

    plain, model = network(), network()
    form = fused(model)

    expected, found = step(plain, plain), step(model, form)

    assert type(form.layers[1]).__name__ == "FusedNormalization"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_allclose(form.predict_on_batch(BATCH), model.predict_on_batch(BATCH))


def test_a_frozen_normalisation_keeps_its_means() -> None:
    from pipeline.model.normalisation import fused

    model = network()
    model.get_layer("norm").trainable = False
    before = model.get_weights()

    found = fused(model)(BATCH, training=True)

    np.testing.assert_allclose(found, model(BATCH, training=False))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"axis": 1}])
def test_a_normalisation_of_another_kind_stays_as_it_is(options: dict[str, Any]) -> None:
    from pipeline.model.normalisation import fused

    model = network(**options)

    assert fused(model).get_layer("norm") is model.get_layer("norm")
