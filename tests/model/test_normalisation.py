from __future__ import annotations

from typing import Any

import numpy as np
import pytest

BATCH = np.random.default_rng(0).normal(3, 2, (2, 4, 4, 5)).astype(np.float32)


def network(**options: Any) -> Any:
    import keras

    inputs = keras.Input((4, 4, 5))
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm", **options)(inputs)
    model = keras.Model(inputs, keras.layers.ReLU()(norm))
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def within_another(network: Any) -> Any:
    import keras

    inputs = keras.Input((4, 4, 5))
    network.name = "encoder"
    return keras.Model(inputs, network(inputs))


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


def test_a_network_within_the_network_is_fused_too() -> None:
    from pipeline.model.normalisation import fused

    plain, model = within_another(network()), within_another(network())
    form = fused(model)

    expected, found = step(plain, plain), step(model, form)

    assert type(form.get_layer("encoder").get_layer("norm")).__name__ == "FusedNormalization"
    assert type(model.get_layer("encoder").get_layer("norm")).__name__ == "BatchNormalization"
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precise_batch_is_normalised_by_its_float32_means(dtype: str) -> None:
    """Means of many values near 1000 would be lost in half precision, as sums even more so."""
    import keras

    from pipeline.model.normalisation import FusedNormalization

    norm = keras.layers.BatchNormalization(momentum=0.5, dtype=f"mixed_{dtype}")
    norm.build((None, 64, 64, 3))
    batch = keras.ops.cast(np.random.default_rng(0).normal(1000, 8, (2, 64, 64, 3)), dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32"))

    found = FusedNormalization(norm)(batch, training=True)

    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_allclose(norm.moving_mean, exact.mean((0, 1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, exact.var((0, 1, 2)) / 2 + 0.5, rtol=1e-3)
    expected = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    np.testing.assert_allclose(keras.ops.cast(found, "float32"), expected, atol=0.02)


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
