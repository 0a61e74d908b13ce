from __future__ import annotations

import pytest

from pipeline.errors import StageError
from pipeline.params import Params


def test_a_training_over_several_hosts_is_refused(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.model.tensorflow_devices import TensorFlowDevices

    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')

    with pytest.raises(StageError, match=r"TF_CONFIG asks for .* several hosts"):
        TensorFlowDevices(params.train)


def test_tf32_is_off_where_float32_must_be_exact() -> None:
    import tensorflow as tf

    from pipeline.model.tensorflow_devices import TensorFlowDevices

    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    with TensorFlowDevices.exact():
        assert not enabled()
    assert enabled() == before
