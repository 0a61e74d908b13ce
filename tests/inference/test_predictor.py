from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.params import Params
from pipeline.radiograph.fit import fit_radiograph
from tests.conftest import PROJECT

SIDE = 32


@pytest.fixture(scope="module")
def network(params: Params) -> Any:
    import keras

    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(1)
    small = {"filters": [4, 6, 8], "deep_supervision": True}
    return build_unetpp(SIDE, params.train.model_copy(update=small))


@pytest.fixture(scope="module")
def path(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.model.export import export_network

    path = tmp_path_factory.mktemp("network") / "model.onnx"
    export_network(network, path)
    return path


@pytest.fixture(scope="module")
def predictor(path: Path) -> Any:
    from pipeline.inference.predictor import Predictor

    return Predictor(path)


def radiograph(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_radiographs_are_shrunk_by_averaging_areas() -> None:
    assert fit_radiograph(np.array([[0, 100], [100, 200]], np.uint8), 1).tolist() == [[100]]


def test_answers_have_the_size_of_each_radiograph(predictor: Any) -> None:
    images = [radiograph(32, 32), radiograph(50, 70), radiograph(20, 31)]

    found = predictor.predict(images)

    assert [lung.shape for lung in found] == [(32, 32), (50, 70), (20, 31)]
    assert {lung.dtype for lung in found} == {np.dtype("float32")}
    assert all(0 <= lung.min() <= lung.max() <= 1 for lung in found)


def test_answers_have_the_size_that_is_asked_for(predictor: Any) -> None:
    (own,) = predictor.predict([radiograph(50, 70)], [(SIDE, SIDE)])
    (found,) = predictor.predict([radiograph(50, 70)], [(40, 45)])

    np.testing.assert_array_equal(found, cv2.resize(own, (45, 40)))


def test_an_answer_does_not_depend_on_the_other_radiographs(predictor: Any) -> None:
    images = [radiograph(30, 30) // (1 + i) for i in range(5)]

    alone = [predictor.predict([image])[0] for image in images]

    np.testing.assert_array_equal(predictor.predict(images), alone)


def test_no_radiographs_give_no_answers(predictor: Any) -> None:
    assert predictor.predict([]) == []


def test_a_level_gives_the_answer_of_its_head(network: Any, path: Path) -> None:
    from pipeline.inference.predictor import Predictor
    from pipeline.model.unetpp import pruned

    image = radiograph(SIDE, SIDE)
    answers = [Predictor(path, level).predict([image])[0] for level in (0, 1, 2)]

    for level in (1, 2):
        expected = pruned(network, level).predict_on_batch(image[None, ..., None])[0, ..., 0]
        np.testing.assert_allclose(answers[level], expected, atol=1e-5)
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-6)
    assert np.abs(answers[1] - answers[2]).max() > 1e-3


@pytest.mark.parametrize("level", [3, -1])
def test_a_level_that_the_network_has_not_is_refused(path: Path, level: int) -> None:
    from pipeline.inference.predictor import Predictor

    with pytest.raises(StageError, match=rf"found no level {level}, expected 0 .* to 2; train"):
        Predictor(path, level)


def test_a_graph_that_openvino_cannot_run_is_refused(tmp_path: Path, path: Path) -> None:
    import onnx

    from pipeline.inference.predictor import Predictor

    model = onnx.load(path)
    kernel = next(one for one in model.graph.initializer if len(one.dims) == 4)
    kernel.dims[1] += 1
    kernel.raw_data += kernel.raw_data[: len(kernel.raw_data) // (kernel.dims[1] - 1)]
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(StageError, match=r"model\.onnx: not a network that the stage train"):
        Predictor(tmp_path / "model.onnx")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_graph_that_fails_only_when_it_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    from pipeline.inference.predictor import Predictor

    monkeypatch.setattr("pipeline.inference.predictor._cores", lambda: threads)

    nodes = [
        helper.make_node("Shape", ["radiograph"], ["shape"]),
        helper.make_node("Add", ["shape", "ones"], ["more"]),
        helper.make_node("Reshape", ["radiograph", "more"], ["lung"]),
    ]
    ones = numpy_helper.from_array(np.ones(4, np.int64), "ones")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIDE, SIDE, 1])
        for name in ("radiograph", "lung")
    ]
    graph = helper.make_graph(nodes, "lungseg", ends[:1], ends[1:], [ones])
    opset = [helper.make_opsetid("", 15)]
    save(helper.make_model(graph, ir_version=8, opset_imports=opset), tmp_path / "model.onnx")
    predictor = Predictor(tmp_path / "model.onnx")

    with pytest.raises(StageError, match=r"model\.onnx: not a network that the stage train"):
        predictor.predict([radiograph(SIDE, SIDE)])


def test_predicting_imports_no_tensorflow(path: Path) -> None:
    program = (
        "import sys, numpy; from pathlib import Path; "
        "from pipeline.inference.predictor import Predictor; "
        "Predictor(Path(sys.argv[1]), 1).predict([numpy.zeros((9, 9), numpy.uint8)]); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(path)]

    assert subprocess.run(command, cwd=PROJECT, check=False).returncode == 0


def test_predicting_asks_nothing_of_the_network(path: Path, tmp_path: Path) -> None:
    # OpenVINO reports its import from a child process, to which hooks do not reach.
    program = (
        "import sys, numpy; from pathlib import Path\n"
        "events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event))\n"
        "from pipeline.inference.predictor import Predictor\n"
        "Predictor(Path(sys.argv[1])).predict([numpy.zeros((9, 9), numpy.uint8)])\n"
        "print(*[one for one in events if one.startswith(('socket.', 'os.fork', 'subproc'))])"
    )
    command = [sys.executable, "-c", program, str(path)]
    # Nor would it report where it finds itself in CI.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True)

    assert done.stdout == b"\n"


def test_threads_may_predict_at_once(predictor: Any) -> None:
    images = [radiograph(SIDE, SIDE) // (1 + i) for i in range(8)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: predictor.predict([image])[0], images))

    np.testing.assert_array_equal(found, predictor.predict(images))
