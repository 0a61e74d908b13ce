"""How fast a step of training is: against plain PyTorch, the machine's peak and the input.

    uv run --group benchmark python benchmarks/training.py [--quick] [--only '128 px']

All sides train the same U-Net++ from the same weights on the same batch; that their losses agree
is checked first. Ours is the step of pipeline/model/training.py with all it reports. The sides are
processes of their own that take turns, so that neither's threads disturb the other: our step on
TensorFlow, with `train.deterministic` and without, on JAX, and PyTorch's in its faster layout,
where it is installed. A time is the median of the turns, a ratio the median of the ratios within
one. With --one-thread every side has one thread and times are those of the processor: the way on a
machine that others use too, where two threads that wait for each other are slowed more than by
half. The peak is that of a float32 matrix product,
measured in the same turns. Multiplications and additions are those of the convolutions, three
times the forward pass. On a GPU: batches of 8 to 64, both precisions, with XLA and without.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from turns import Turn, serve

from pipeline.model.engine import choose_engine, engine_devices
from pipeline.model.shards import Shards
from pipeline.params_file import load_params
from pipeline.settings import Settings, quiet_libraries

PROJECT = Path(__file__).parents[1]
PRECISIONS = ("float32", "mixed")  # of train.precision
TOLERANCE = 1e-3  # of losses, float32
RECORDS = 2048  # of the input
RATE = 1e-3
ONE_THREAD = {
    "LUNGSEG_BENCHMARK_CLOCK": "process_time",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
clock = getattr(time, os.environ.get("LUNGSEG_BENCHMARK_CLOCK", "perf_counter"))


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    image_size: int
    filters: tuple[int, ...]
    deep_supervision: bool = False
    batch_size: int = 8
    precision: str = "float32"
    xla: bool = False
    weight_averaging: float = 0

    def batch(self) -> Any:
        """Images uint8 and masks float32, both (N, S, S, 1), as `read_batches` gives them."""
        shape = (self.batch_size, self.image_size, self.image_size, 1)
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        return images, (images > 128).astype(np.float32)

    def __str__(self) -> str:
        filters = ", ".join(map(str, self.filters))
        deep = ", deep supervision" if self.deep_supervision else ""
        xla = ", XLA" if self.xla else ""
        return f"{self.image_size} px | {filters}{deep} | {self.batch_size} | {self.precision}{xla}"


NETWORKS = [
    Case(128, (8, 16, 32, 64)),
    Case(128, (16, 32, 64, 128)),
    Case(256, (8, 16, 32, 64)),
    Case(256, (16, 32, 64, 128)),
    Case(256, (8, 16, 32, 64), True),
    Case(256, (8, 16, 32, 64, 128), True),
    Case(192, (16, 32, 64, 128, 256), True),
]


class KerasSide:
    """Our training step on an engine."""

    def __init__(self, side: str) -> None:
        self._engine = "jax" if side == "jax" else "tensorflow"
        self._deterministic = side == "deterministic"
        params = load_params(PROJECT / "params.yaml").train
        choice = {"engine": self._engine, "deterministic": self._deterministic}
        self._params = params.model_copy(update=choice)
        choose_engine(self._params, Settings().home)

        import keras

        devices = engine_devices()
        versions = f"{self._engine} {devices.version()}, Keras {keras.__version__}"
        self._about = {"gpu": bool(devices.gpus()), "versions": versions}

    def about(self) -> dict[str, Any]:
        """Versions, and whether there is a GPU."""
        return self._about

    def build(self, options: dict[str, Any], weights: str) -> dict[str, Any]:
        """Make the network and count parameters and operations.

        The first side keeps its weights in a file, the others take them from there: engines draw
        other ones from the same seed.
        """
        from pipeline.model.training import Training

        case = Case(**options)
        params = self._params.model_copy(
            update={
                "filters": list(case.filters),
                "deep_supervision": case.deep_supervision,
                "batch_size": case.batch_size,
                "learning_rate": RATE,
                "precision": case.precision,
                "xla": case.xla,
                "encoder": "plain",
                "schedule": "constant",
                "warmup_epochs": 0,
                "weight_averaging": case.weight_averaging,
                "loss": "binary_crossentropy",
            }
        )
        self._training = training = Training(params, *self._shards(case))
        self._model = training._supervised
        # At the end of each `fit` the average would take the weights' place, also after one step.
        self._model.optimizer.finalize_variable_values = lambda variables: None
        self._batch = case.batch()
        trained = {
            weight.path: np.asarray(weight) for weight in training._network.trainable_weights
        }
        if not Path(weights).exists():
            np.savez(weights, **trained)
        with np.load(weights) as arrays:
            for weight in training._network.trainable_weights:
                weight.assign(arrays[weight.path])
        size = sum(weight.size for weight in trained.values())
        return {"parameters": size, "operations": 3 * forward_operations(training._network)}

    def _shards(self, case: Case) -> tuple[Shards, Shards]:
        """Of training and validation, which are not read."""
        unread = Shards([Path("unread")], case.batch_size, case.image_size)
        return unread, unread

    def losses(self, steps: int) -> list[float]:
        """The loss of each of so many steps."""
        return [self._fit(1)[1] for _ in range(steps)]

    def seconds(self, steps: int) -> float:
        """The time of so many steps after a first."""
        return self._fit(1 + steps)[0]

    def peak(self) -> float:
        """Operations per second of a float32 matrix product, the best of three."""
        import tensorflow as tf

        side = 8192 if self._about["gpu"] else 2048
        matrix = tf.random.normal((side, side))
        product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
        product().numpy()
        times = [_timed(lambda: product().numpy()) for _ in range(3)]
        if not self._about["gpu"]:
            array = matrix.numpy()
            times += [_timed(lambda: array @ array) for _ in range(3)]
        return 2 * side**3 / min(times)

    def records(self, image_size: int, batch_size: int) -> float:
        """Records per second that read_batches makes batches of."""
        from input import make_shards

        from pipeline.model.batches import read_batches
        from pipeline.model.shards import find_shards

        with tempfile.TemporaryDirectory() as folder:
            make_shards(Path(folder), RECORDS, image_size)
            batches = read_batches(find_shards(Path(folder), "train"), batch_size, order=7)
            times = [_timed(lambda: sum(len(images) for images, _ in batches)) for _ in range(4)]
        return RECORDS / statistics.median(times[1:])

    def _fit(self, steps: int) -> tuple[float, float]:
        import keras

        ends: list[float] = []
        timer = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs: ends.append(clock())
        )
        batches = (batch for batch in repeat(self._batch, steps))
        fitted = self._model.fit(
            batches, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[timer]
        )
        return ends[-1] - ends[0], float(fitted.history["loss"][0])


class TorchSide:
    """The training step in PyTorch."""

    def about(self) -> dict[str, Any]:
        """Versions, and whether there is a GPU."""
        import torch

        return {"gpu": torch.cuda.is_available(), "versions": f"PyTorch {torch.__version__}"}

    def build(self, options: dict[str, Any], weights: str) -> dict[str, Any]:
        """Make the network of the weights in the faster layout."""
        from unetpp_torch import Step, UNetPlusPlus

        case = Case(**options)
        self._batch = case.batch()
        network = UNetPlusPlus(list(case.filters), case.deep_supervision)
        times = {}
        for layout in ("contiguous_format", "channels_last"):
            self._step = Step(network, layout, case.precision, RATE)
            times[layout] = min(self.seconds(1) for _ in range(3))
        layout = min(times, key=lambda name: times[name])
        with np.load(weights) as arrays:
            network.take(arrays)
        self._step = Step(network, layout, case.precision, RATE)
        size = sum(parameter.numel() for parameter in network.parameters())
        return {"parameters": size, "layout": layout}

    def losses(self, steps: int) -> list[float]:
        """The loss of each of so many steps."""
        return self._step.losses(*self._batch, steps)

    def seconds(self, steps: int) -> float:
        """The time of so many steps after a first."""
        self._step.losses(*self._batch, 1)
        return _timed(lambda: self._step.losses(*self._batch, steps))


def make_side(name: str) -> KerasSide | TorchSide:
    """The side of a process."""
    return TorchSide() if name == "torch" else KerasSide(name)


def forward_operations(network: Any) -> int:
    """Multiplications and additions of the convolutions, for one radiograph."""
    total = 0
    for layer in network.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            grid = layer.input if "transpose" in type(layer).__name__.lower() else layer.output
            total += 2 * int(np.prod(kernel.shape)) * int(np.prod(grid.shape[1:3]))
    return total


def measure(sides: dict[str, Turn], case: Case, rounds: int, steps: int) -> None:
    """Print a row: build, compare the losses and take turns."""
    if case.xla:
        sides = {"plain": sides["plain"]}
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder, "weights.npz"))
        built = {name: side.ask("build", asdict(case), weights) for name, side in sides.items()}
    losses = {name: side.ask("losses", 4) for name, side in sides.items()}
    check_same_work(case, built, losses)
    speeds: dict[str, list[float]] = {name: [] for name in (*sides, "peak")}
    for _ in range(rounds):
        for name, side in sides.items():
            speeds[name].append(steps * case.batch_size / side.ask("seconds", steps))
        speeds["peak"].append(sides["plain"].ask("peak") / built["plain"]["operations"])
    print(f"| {case} | {row(speeds)} | {built.get('torch', {}).get('layout', '–')} |", flush=True)


def check_same_work(case: Case, built: dict[str, Any], losses: dict[str, list[float]]) -> None:
    """End the run unless all sides have as many parameters and, in float32, the same losses."""
    sizes = {side["parameters"] for side in built.values()}
    apart = max(abs(one - losses["plain"][i]) for o in losses.values() for i, one in enumerate(o))
    if len(sizes) > 1 or (case.precision == "float32" and not apart < TOLERANCE):
        raise SystemExit(f"{case}: the sides differ: parameters {sizes}, losses {losses}")


def row(speeds: dict[str, list[float]]) -> str:
    """Images/s of the sides, ratios of them, the share of the peak."""

    def median(name: str) -> str:
        return f"{statistics.median(speeds[name]):.1f}" if name in speeds else "–"

    def ratio(one: str, other: str) -> str:
        if not {one, other} <= speeds.keys():
            return "–"
        ratios = [a / b for a, b in zip(speeds[one], speeds[other], strict=True)]
        return f"{statistics.median(ratios):.2f}"

    cells = [median("plain"), median("deterministic"), median("jax"), median("torch")]
    cells += [ratio("jax", "plain")]
    cells += [ratio("plain", "torch"), ratio("deterministic", "torch")]
    return " | ".join([*cells, ratio("plain", "deterministic"), ratio("plain", "peak")])


def cases(gpu: bool) -> list[Case]:
    """What is measured on this machine."""
    if not gpu:
        mixed = [replace(case, precision="mixed") for case in NETWORKS]
        return [*NETWORKS, *mixed, *(replace(case, xla=True) for case in NETWORKS[::2])]
    return [
        replace(case, batch_size=batch, precision=precision, xla=xla)
        for case in NETWORKS
        for batch in (8, 16, 32, 64)
        for precision in PRECISIONS
        for xla in (False, True)
    ]


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    quiet_libraries()
    if options.side:
        serve(make_side(options.side))
        return
    names = ["plain", "deterministic", "jax", *(["torch"] if find_spec("torch") else [])]
    environment = ONE_THREAD if options.one_thread else {}
    sides = {name: Turn(__file__, name, environment) for name in names}
    about = {name: side.ask("about") for name, side in sides.items()}
    gpu = about["plain"]["gpu"]
    versions = ", ".join(sorted({side["versions"] for side in about.values()}))
    print(f"{machine(gpu)}, Python {platform.python_version()}, {versions}")
    print(f"load of the last minute: {os.getloadavg()[0]:.1f}\n")
    rounds, steps = (2, 1) if options.quick else (options.rounds, 20 if gpu else 1)
    print(
        "| image | filters | batch | precision | images/s | deterministic | on JAX | PyTorch "
        "| JAX by TensorFlow | by PyTorch | deterministic by PyTorch | cost of determinism "
        "| share of peak | layout |"
    )
    print("|" + " --- |" * 14)
    chosen = [case for case in cases(gpu) if str(case).startswith(options.only)]
    for case in chosen:
        measure(sides, case, rounds, steps)
    print("\n| image | records/s read |\n| --- | --- |")
    for size in sorted({case.image_size for case in chosen}):
        print(f"| {size} px | {sides['plain'].ask('records', size, 8):.0f} |")
    gigaflops = statistics.median(sides["plain"].ask("peak") for _ in range(rounds)) / 1e9
    print(f"\nfloat32 matrix product: {gigaflops:.0f} GFLOP/s")
    for side in sides.values():
        side.end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="rows that begin so: '256 px | 8, 16, 32, 64 |'")
    parser.add_argument("--one-thread", action="store_true", help="in processor time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds of a step each")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


def machine(gpu: bool) -> str:
    """What its processor is called, or its GPUs."""
    if gpu:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def _timed(action: Any) -> float:
    started = clock()
    action()
    return clock() - started


if __name__ == "__main__":
    main()
