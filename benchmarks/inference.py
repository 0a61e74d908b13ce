"""How fast, how small and how good prediction is: Keras, OpenVINO, ONNX Runtime, and the levels.

And what it costs that a network is told which of two annotation conventions it is asked for.

    python benchmarks/inference.py [--model artifacts/train --data .]

Every side is a process of its own that sleeps while the others work; they take turns in every
round, and the medians are of the rounds. Without --model the network is an untrained one with
--filters and deep supervision, at --image-size. With --data, a project's root with
artifacts/split/split.csv and data/, each level is scored on the test split, each radiograph at the
size of its mask. ONNX Runtime takes part when it is installed (group `benchmark`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.splits.table import SPLIT, SPLIT_FILE, select_split, split_rows
from pipeline.evaluation.per_image import per_image_table
from pipeline.evaluation.scoring import score_images
from pipeline.inference.graph import INPUT, cut_graph, read_graph
from pipeline.inference.predictor import Predictor
from pipeline.params import EvaluateParams
from pipeline.params_file import load_params
from pipeline.settings import quiet_libraries

ENGINES = ("keras predict", "keras predict_on_batch", "openvino", "onnxruntime")
PACKAGES = ("keras", "tensorflow", "openvino", "onnxruntime")

FIRST_MASK = """
import sys
from pathlib import Path
import numpy
from pipeline.inference.predictor import Predictor
predictor = Predictor(Path(sys.argv[1]))
for count in (1, 64):
    predictor.predict([numpy.zeros((299, 299), numpy.uint8)] * count)
    # Not getrusage, which counts the process that this one was forked from.
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], flush=True)
"""


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    quiet_libraries()
    print_machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or make_network(Path(temporary), options.image_size, options.filters)
        levels = range(len(read_graph(folder / "model.onnx").graph.output))
        print_engines(folder, options.rounds)
        print_levels(folder, levels, options.rounds, options.data)
        networks = [Path(temporary, name) for name in ("one", "two")]
        for conventions, network in enumerate(networks, 1):
            network.mkdir()
            make_network(network, options.image_size, options.filters, conventions)
        print_told(networks, options.rounds)
        print_process(folder / "model.onnx", options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="an artifacts/train")
    parser.add_argument("--data", type=Path, help="the root of its project")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--filters", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=9, help="after one to warm up")
    return parser.parse_args()


def print_machine() -> None:
    """Print what the figures depend on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in PACKAGES
        if importlib.util.find_spec(name)
    ]
    cores = len(os.sched_getaffinity(0))
    print(f"{cpu[0].partition(': ')[2] if cpu else platform.machine()}, {cores} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, {', '.join(versions)}")


def make_network(folder: Path, image_size: int, filters: list[int], conventions: int = 1) -> Path:
    """An untrained network with deep supervision, as the stage train would save it."""
    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network
    from pipeline.model.unetpp import build_unetpp

    changes = {"filters": filters, "deep_supervision": True, "encoder": "plain"}
    params = load_params(Path(__file__).parents[1] / "params.yaml").train.model_copy(update=changes)
    network = build_unetpp(image_size, params, conventions=conventions)
    save_network(network, folder / "model.keras")
    names = ["standard", *(f"other-{number}" for number in range(1, conventions))]
    export_network(network, folder / "model.onnx", names)
    return folder


def segmenter(folder: Path, engine: str, level: int) -> Callable[[Any], Any]:
    """What takes radiographs uint8 (N, S, S) to probabilities with one of the engines."""
    if engine == "openvino":
        predictor = Predictor(folder / "model.onnx", level)
        return lambda images: predictor.predict(list(images))
    if engine == "onnxruntime":
        return onnx_runtime(cut_graph(read_graph(folder / "model.onnx"), level, folder))
    from pipeline.model.keras_file import load_network

    network = load_network(folder / "model.keras")
    if engine == "keras predict":
        return lambda images: network.predict(images[..., None], verbose=0)
    return lambda images: network.predict_on_batch(images[..., None])


def onnx_runtime(graph: Any) -> Callable[[Any], Any]:
    """ONNX Runtime at its fastest: several radiographs one by one, each with one thread."""
    import onnxruntime

    cores = len(os.sched_getaffinity(0))

    def session(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait without sleeping take the cores from those that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(graph.SerializeToString(), options)

    one, several = session(cores), session(1)
    pool = ThreadPoolExecutor(cores)

    def segment(images: Any) -> list[Any]:
        chosen = one if len(images) == 1 else several
        inputs = images[..., None].astype("float32")
        return list(
            pool.map(lambda i: chosen.run(None, {INPUT: inputs[i : i + 1]}), range(len(images)))
        )

    return segment


def _work(pipe: Any, folder: Path, engine: str, level: int) -> None:
    quiet_libraries()
    side = Predictor(folder / "model.onnx").image_size
    images = np.random.default_rng(0).integers(0, 256, (8, side, side), np.uint8)
    segment = segmenter(folder, engine, level)
    while batch := pipe.recv():
        started = time.perf_counter()
        segment(images[:batch])
        pipe.send(1000 * (time.perf_counter() - started) / batch)


def measure(sides: list[tuple[Path, str, int]], batch: int, rounds: int) -> list[list[float]]:
    """Milliseconds per radiograph of each side, a (network, engine, level), in every round."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for side in sides:
        ours, theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, *side), daemon=True).start()
        pipes.append(ours)
    times: list[list[float]] = [[] for _ in sides]
    for current in range(rounds + 1):
        for pipe, found in zip(pipes, times, strict=True):
            # The first call after the others' turns finds cold caches and sleeping threads.
            pipe.send(batch)
            pipe.recv()
            pipe.send(batch)
            milliseconds = pipe.recv()
            if current:
                found.append(milliseconds)
    for pipe in pipes:
        pipe.send(0)
    return times


def print_engines(folder: Path, rounds: int) -> None:
    """Print a row per engine and batch size."""
    print("\n| engine | batch | ms per radiograph | fastest | times keras predict |")
    print("| --- | --- | --- | --- | --- |")
    names = [name for name in ENGINES if "keras" in name or importlib.util.find_spec(name)]
    for batch in (1, 8):
        times = measure([(folder, name, 0) for name in names], batch, rounds)
        for name, found in zip(names, times, strict=True):
            # Of each round by itself: what else the machine does changes from round to round.
            ratios = [keras / one for keras, one in zip(times[0], found, strict=True)]
            median, fastest = statistics.median(found), min(found)
            shown = f"{median:.1f} | {fastest:.1f} | {statistics.median(ratios):.2f}"
            print(f"| {name} | {batch} | {shown} |", flush=True)


def print_levels(folder: Path, levels: range, rounds: int, data: Path | None) -> None:
    """Print a row per level; 0 is the whole network."""
    print("\n| level | parameters | bytes | ms per radiograph | of the whole | Dice | accuracy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    path = folder / "model.onnx"
    times = measure([(folder, "openvino", level) for level in levels], 1, rounds)
    for level, found in zip(levels, times, strict=True):
        graph = cut_graph(read_graph(path), level, path)
        ratios = [one / whole for whole, one in zip(times[0], found, strict=True)]
        shown = f"{statistics.median(found):.1f} | {statistics.median(ratios):.2f}"
        scores = score(path, level, data) if data else "|"
        size = graph.ByteSize()
        print(f"| {level} | {count(graph)} | {size} | {shown} | {scores} |", flush=True)


def print_told(networks: list[Path], rounds: int) -> None:
    """Print what a network that knows two conventions takes longer than one that knows one."""
    print("\n| batch | ms per radiograph, not told | told | times as long |")
    print("| --- | --- | --- | --- |")
    for batch in (1, 8):
        times = measure([(network, "openvino", 0) for network in networks], batch, rounds)
        ratio = statistics.median(told / one for one, told in zip(*times, strict=True))
        one, told = (statistics.median(found) for found in times)
        print(f"| {batch} | {one:.1f} | {told:.1f} | {ratio:.3f} |", flush=True)


def count(graph: Any) -> int:
    """Weights of a graph, its normalisations being part of the convolutions."""
    return sum(int(np.prod(one.dims)) for one in graph.graph.initializer if one.data_type == 1)


def score(path: Path, level: int, root: Path) -> str:
    """Mean Dice and accuracy on the test split of a project."""
    pairs = split_rows(select_split(SPLIT.read(root / SPLIT_FILE), "test"))
    params = EvaluateParams(threshold=0.5, batch_size=16, robustness_cases=0)
    images = score_images(Predictor(path, level), pairs, root / "data", params)
    means = per_image_table(images)[["dice", "accuracy"]].mean()
    return f"{means['dice']:.4f} | {means['accuracy']:.4f}"


def print_process(path: Path, rounds: int) -> None:
    """Print what a process that only predicts takes."""
    seconds, first, many = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        command = [sys.executable, "-c", FIRST_MASK, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            lines = child.stdout or ()
            first.append(int(next(iter(lines))) / 1024)
            seconds.append(time.perf_counter() - started)
            many.append(int(next(iter(lines))) / 1024)
    print(f"\nfrom the start of a process to its first mask: {statistics.median(seconds):.2f} s")
    print(f"(fastest {min(seconds):.2f} s); peak memory {max(first):.0f} MiB then, ", end="")
    print(f"{max(many):.0f} MiB after 64 radiographs of 299x299 at once")


if __name__ == "__main__":
    main()
